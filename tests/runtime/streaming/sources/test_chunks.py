"""A file as live audio: the same samples, each when it has been heard."""

from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.audio import read as audio
from muqrt.runtime.streaming.sources.chunks import cut, from_file, played

RATE_HZ = 24_000
SONG = "bach_prelude_c.mp3"


def test_chunks_are_the_blocks_samples() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=size).astype(np.float32) for size in (0, 1, 5000, 2399, 0, 7201, 3)]
    chunks = list(cut(blocks, RATE_HZ))
    assert [len(chunk) for chunk in chunks] == [2400] * 6 + [204]
    np.testing.assert_array_equal(np.concatenate(chunks), np.concatenate(blocks))
    assert list(cut([], RATE_HZ)) == []


def test_a_chunk_comes_when_it_has_been_heard(pauses: list[float]) -> None:
    chunks = played(cut([np.zeros(6000, np.float32)], RATE_HZ), RATE_HZ)
    next(chunks)
    assert sum(pauses) == pytest.approx(0.1)
    pauses.append(1.0)  # the consumer was slow: nothing is waited for any more
    next(chunks)
    assert pauses[-1] == 0
    next(chunks)
    assert pauses[-1] == 0


def test_a_file_is_what_load_gives(music: Path, pauses: list[float]) -> None:
    whole = audio.load(music / SONG)
    for real_time in (True, False):
        np.testing.assert_array_equal(
            np.concatenate(list(from_file(music / SONG, RATE_HZ, real_time))), whole
        )
        assert sum(pauses) == pytest.approx(len(whole) / RATE_HZ, abs=0.02)
