"""Whatever happened to a file: no traceback, no hang, bounded memory, and no less than FFmpeg reads
without a word."""

import faulthandler
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.runtime.audio import read as audio

from .mutations import is_what_a_wav_counts, mutated, outcome, real_files
from .odd_files import Heard, ffmpeg_samples

pytest.importorskip("av")

LONGEST_SECONDS = 10.0
FILES = real_files()


@pytest.mark.parametrize("count", [30, pytest.param(1_000, marks=pytest.mark.full)])
def test_changed_files_are_read_or_refused(tmp_path: Path, count: int) -> None:
    path, counts, slowest, less = tmp_path / "a", Counter[str](), 0.0, []
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    for index in range(count):
        path.write_bytes(mutated(np.random.default_rng([count, index]), FILES))
        # A decoder that hangs cannot be interrupted.
        faulthandler.dump_traceback_later(6 * LONGEST_SECONDS, exit=True)
        start = time.process_time()
        found = outcome(path)
        slowest = max(slowest, time.process_time() - start)
        faulthandler.cancel_dump_traceback_later()
        counts[found] += 1
        if found == "less":
            less.append(index)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    print(
        f"{dict(counts)}, slowest {slowest:.2f} s of processor time, grown by {grown_mib:.0f} MiB"
    )
    assert not less
    assert slowest < LONGEST_SECONDS and grown_mib < 300
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files + 1
    assert min(counts[each] for each in ("read", "damaged", "refused")) > count // 30


PARTS = st.lists(st.sampled_from(range(len(FILES))), min_size=1, max_size=3)
JUNK = st.lists(st.binary(max_size=300), min_size=3, max_size=3)


@given(PARTS, JUNK)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_files_joined_with_junk_give_what_ffmpeg_reads_or_a_word(
    tmp_path: Path, parts: list[int], junk: list[bytes]
) -> None:
    path, heard = tmp_path / "a", Heard(1)
    joined = b"".join(FILES[part] + noise for part, noise in zip(parts, junk, strict=False))
    path.write_bytes(joined)
    try:
        found = audio.load(path, tolerance=heard.tolerance)
    except AudioError as error:
        assert str(path) in str(error)
    else:
        seconds = len(found) / 24_000 + heard.lost_seconds
        expected_seconds = len(ffmpeg_samples(path)) / 24_000
        assert seconds > expected_seconds - 0.2 or is_what_a_wav_counts(path, found)
