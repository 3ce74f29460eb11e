"""Ranges, and which music they may be measured on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.quantize.int8.calibration import (
    Observed,
    Range,
    calibration_music,
    check_music,
    with_fades,
)

RATE_HZ = 24_000


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    samples = round(seconds * RATE_HZ)
    return np.random.default_rng(0).normal(0, level, (1, samples)).astype(np.float32)


@given(st.floats(-1e3, 0), st.floats(0, 1e3))
@settings(max_examples=50, deadline=None)
def test_zero_is_exact_and_the_rest_nearest(low: float, high: float) -> None:
    found = Range(low, high)
    x = torch.linspace(low, high, 1001, dtype=torch.float64)
    assert 0 <= found.zero_point <= 255
    assert found.quantized(torch.zeros(1)) == 0
    assert (found.quantized(x) - x).abs().max() <= found.scale * (1 + 1e-6)


def test_beyond_the_range_is_clipped() -> None:
    found = Range(-1, 1)
    torch.testing.assert_close(
        found.quantized(torch.tensor([-9.0, 9.0])), torch.tensor([-1.0, 1.0]), atol=0.01, rtol=0
    )


def test_channels_have_steps_of_their_own() -> None:
    channels = np.array([1, 100], np.float32)
    x = torch.tensor([[0.5, 50.0], [0.01, 1.0]])
    plain, own = Range(0, 100).quantized(x), Range(0, 1, channels).quantized(x)
    assert (own - x)[:, 0].abs().max() < 0.002 < (plain - x)[:, 0].abs().max()


def test_observed_extremes_are_those_of_all_music_by_channel() -> None:
    observed = Observed()
    observed.add(torch.tensor([[[1.0, -2.0], [0.5, 3.0]]]))
    observed.add(torch.tensor([[[-4.0, 1.0]]]))
    assert observed.peaks.tolist() == [4, 3]
    assert (observed.range(1).low, observed.range(1).high) == (-4, 3)
    assert observed.range(2).high == 6
    divided = observed.range(1, torch.tensor([4.0, 3.0]))
    assert (divided.low, divided.high) == (-1, 1)


def test_a_fade_is_the_second_row() -> None:
    (faded,) = with_fades([Excerpt("x", noise(2))])
    assert faded.waveform.shape == (2, 2 * RATE_HZ)
    first, last = faded.waveform[1, :RATE_HZ].std(), faded.waveform[1, -RATE_HZ // 10 :].std()
    assert last < first / 100


def test_too_little_silent_or_broken_music_is_refused() -> None:
    with pytest.raises(AudioError, match=r"2\.0 s of music"):
        check_music([Excerpt("short", noise(2))])
    with pytest.raises(AudioError, match="quiet: silent"):
        check_music([Excerpt("good", noise(20)), Excerpt("quiet", noise(5, 0))])
    broken = noise(20)
    broken[0, 7] = np.nan
    with pytest.raises(AudioError, match=r"bad: .* not finite"):
        check_music([Excerpt("bad", broken)])


def test_files_are_refused_by_name(tmp_path: Path) -> None:
    short, corrupt = tmp_path / "short.wav", tmp_path / "corrupt.flac"
    soundfile.write(short, noise(3)[0], RATE_HZ)
    corrupt.write_bytes(b"no music at all")
    with pytest.raises(AudioError, match=r"3\.0 s of music"):
        calibration_music([short])
    with pytest.raises(AudioError, match=r"corrupt\.flac"):
        calibration_music([corrupt])
    assert sum(each.seconds for each in calibration_music([short] * 4)) == 12
