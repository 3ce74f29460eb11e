"""Silence is a level, and channels that cancel each other are not silent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.runtime.audio import read as audio
from muqrt.runtime.audio.down_mix import DownMix
from muqrt.runtime.audio.silence import SILENCE_DBFS, is_silent

RATE_HZ = 44_100


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = round(seconds * RATE_HZ)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def test_dither_is_silent_and_a_whisper_is_not() -> None:
    step = 2**-15
    dither = np.random.default_rng(0).integers(-2, 3, 1000) * step
    assert is_silent(dither.astype(np.float32))
    assert is_silent(np.zeros((0,), np.float32))
    whisper = np.zeros(1000, np.float32)
    whisper[7] = -(10 ** ((SILENCE_DBFS + 1) / 20))
    assert not is_silent(whisper)


def left(stereo: np.ndarray) -> np.ndarray:
    return stereo[0]


def average(stereo: np.ndarray) -> np.ndarray:
    return (stereo[0] + stereo[1]) / 2


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (lambda x: -x, left),  # a cable wired the wrong way round
        (lambda x: -0.99 * x, left),  # and not quite as loud
        (lambda x: x, average),
        (lambda x: 0 * x, average),
        (lambda x: noise(3, seed=1), average),
        (lambda x: -0.8 * x, average),
    ],
)
def test_only_channels_that_cancel_each_other_are_not_averaged(
    tmp_path: Path,
    right: Callable[[np.ndarray], np.ndarray],
    expected: Callable[[np.ndarray], np.ndarray],
) -> None:
    stereo = np.stack([noise(3), right(noise(3))])
    np.testing.assert_allclose(
        audio.from_array(stereo, RATE_HZ, RATE_HZ), expected(stereo), atol=1e-6
    )
    soundfile.write(tmp_path / "a.wav", stereo.T, RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav", RATE_HZ), expected(stereo), atol=1e-6)


def test_the_louder_channel_is_heard() -> None:
    quiet = noise(1)
    np.testing.assert_array_equal(
        audio.from_array(np.stack([quiet, -1.02 * quiet]), RATE_HZ, RATE_HZ),
        np.float32(-1.02) * quiet,
    )


chunkings = st.lists(st.integers(1, 9_000), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(chunkings, st.integers(2, 6))
def test_unrelated_channels_are_averaged_whatever_the_chunks(
    sizes: list[int], channels: int
) -> None:
    block = np.stack([noise(0.5, seed) for seed in range(channels)], axis=1)
    mix, found, first = DownMix(), [], 0
    while first < len(block):
        for size in sizes:
            found.append(mix.push(block[first : first + size]))
            first += size
    np.testing.assert_array_equal(np.concatenate(found), block.mean(axis=1))


@settings(max_examples=30, deadline=None)
@given(chunkings)
def test_opposite_channels_are_heard_whatever_the_chunks(sizes: list[int]) -> None:
    one = noise(1)
    block, mix, found, first = np.stack([one, -one], axis=1), DownMix(), [], 0
    while first < len(block):
        for size in sizes:
            found.append(mix.push(block[first : first + size]))
            first += size
    # Until enough is known, which is at most the first two chunks of these lengths.
    np.testing.assert_array_equal(np.concatenate(found)[9_000:], one[9_000:])


def test_the_number_of_channels_may_change() -> None:
    one, mix = noise(1), DownMix()
    opposite, alike = np.stack([one, -one], axis=1), np.stack([one] * 3, axis=1)
    for block in (opposite, one[:, None], opposite, alike, opposite):
        np.testing.assert_allclose(mix.push(block), one, atol=1e-6)
