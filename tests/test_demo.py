import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"


@pytest.mark.slow
@pytest.mark.server
def test_from_a_checkpoint_to_a_served_answer(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--work", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same numbers" in done.stdout
    assert "Served" in done.stdout
    assert "muqrt tag" in done.stdout


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--work", str(tmp_path), "--checkpoint", "no/where/at/all"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "no/where/at/all" in done.stderr
    assert "Traceback" not in done.stderr
