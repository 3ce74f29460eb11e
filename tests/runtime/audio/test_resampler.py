"""Blocks of any sizes resample to what the whole stream at once would."""

import hashlib

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.runtime.audio.resampler import QUALITY, Resampler

TARGET_RATE_HZ = 24_000


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 44_100, 48_000, 768_000])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=12))
def test_blocks_of_any_sizes(rate_hz: int, sizes: list[int]) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, sum(sizes)).astype(np.float32)
    resampler, found, first = Resampler(rate_hz, TARGET_RATE_HZ), list[np.ndarray](), 0
    for size in sizes:
        block = noise[first : first + size].copy()
        found.append(resampler.push(block))
        block[:] = np.nan  # nobody may read it again
        first += size
    joined = np.concatenate([*found, resampler.finish()])
    at_once = soxr.resample(noise, rate_hz, TARGET_RATE_HZ, quality=QUALITY)
    assert joined.dtype == np.float32 and joined.shape == at_once.shape
    np.testing.assert_allclose(joined, at_once, atol=1e-6)


def test_the_same_rate_is_passed_on() -> None:
    resampler, block = Resampler(TARGET_RATE_HZ, TARGET_RATE_HZ), np.ones(7, np.float32)
    np.testing.assert_array_equal(resampler.push(block), block)
    assert resampler.finish().shape == (0,)


@pytest.mark.parametrize("rate_hz", [TARGET_RATE_HZ, 44_100])
def test_a_stream_of_nothing_is_nothing(rate_hz: int) -> None:
    none = Resampler(rate_hz, TARGET_RATE_HZ).finish()
    assert (none.dtype, none.shape) == (np.float32, (0,))


@pytest.mark.parametrize("seconds", [30, pytest.param(3_600, marks=pytest.mark.full)])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
def test_a_stream_in_other_chunks_is_the_same_bit_for_bit(rate_hz: int, seconds: int) -> None:
    """Nothing drifts in an hour."""
    hashes, lengths = [], []
    for seed in (0, 1):
        sizes, length = np.random.default_rng(seed), 0
        resampler, found = Resampler(rate_hz, TARGET_RATE_HZ), hashlib.sha256()
        for second in range(seconds):
            block = np.random.default_rng(second).uniform(-1, 1, rate_hz).astype(np.float32)
            for piece in np.split(block, np.sort(sizes.integers(0, rate_hz, 8))):
                samples = resampler.push(piece)
                found.update(samples.tobytes())
                length += len(samples)
        found.update((last := resampler.finish()).tobytes())
        hashes.append(found.hexdigest())
        lengths.append(length + len(last))
    assert hashes[0] == hashes[1]
    assert lengths == [seconds * TARGET_RATE_HZ] * 2
