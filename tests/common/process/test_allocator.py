"""Memory that was freed is used again."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource
import numpy as np
from muqrt.common.process.allocator import keep_freed_memory

if {kept}:
    keep_freed_memory(1 << 30)
np.ones(1 << 22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(1 << 22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_pages_of_freed_memory_are_not_cleared_anew() -> None:
    def faults(kept: bool) -> int:
        program = _FAULTS.format(kept=kept)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults(kept=True) < faults(kept=False) / 10
