"""The log-mel spectrogram against a discrete Fourier transform written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from muqrt.reference.mel import LogMel, mel_filterbank

BIN_HZ = 12_000 / 1024
PLAIN = LogMel(240, 128, mean_db=0.0, std_db=1.0)


def naive_log_mel(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (128, samples // 240) in dB, all in float64."""
    padded = np.pad(waveform.astype(np.float64), 1024, mode="reflect")
    n = np.arange(2048)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 2048)
    fourier = np.exp(-2j * np.pi * np.outer(n, np.arange(1025)) / 2048)
    starts = range(0, len(waveform) // 240 * 240, 240)
    power = np.abs(np.stack([padded[s : s + 2048] * window for s in starts]) @ fourier) ** 2
    edges_mel = np.linspace(0, 2595 * math.log10(1 + 12_000 / 700), 130)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    bins_hz = np.arange(1025) * BIN_HZ
    triangles = [np.interp(bins_hz, edges_hz[b : b + 3], [0, 1, 0]) for b in range(128)]
    return 10 * np.log10(np.maximum(np.array(triangles) @ power.T, 1e-10))


def test_naive(recording: Tensor) -> None:
    waveform = recording[19_000:31_111]  # with the digital silence and the second chord's onset
    ours = PLAIN(waveform[None])[0].numpy()
    np.testing.assert_allclose(ours, naive_log_mel(waveform.numpy()), atol=1e-3, rtol=0)


def test_normalisation(recording: Tensor) -> None:
    waveform = recording[None, :5000]
    normalised = LogMel(240, 128, mean_db=6.0, std_db=18.0)(waveform)
    torch.testing.assert_close(normalised * 18 + 6, PLAIN(waveform), atol=1e-4, rtol=0)


def test_known_points_of_the_filterbank() -> None:
    """Values of torchaudio's melscale_fbanks, which computes them in float32."""
    filterbank = mel_filterbank()
    assert filterbank.shape == (1025, 128)
    known = {
        (1, 0): 0.736793,
        (64, 31): 0.589406,
        (64, 32): 0.410594,
        (300, 78): 0.085809,
        (300, 79): 0.914191,
        (1000, 127): 0.996792,
    }
    for (frequency, band), weight in known.items():
        assert filterbank[frequency, band].item() == pytest.approx(weight, abs=1e-5)
    assert filterbank[[0, 1024]].max() < 1e-12  # neither 0 Hz nor 12 kHz belongs to a band
    # Between the first and the last centre the triangles share every bin.
    torch.testing.assert_close(filterbank[2:1000].sum(1), torch.ones(998))


@pytest.mark.parametrize(("tone_hz", "band"), [(200, 10), (440, 21), (1000, 38), (8000, 111)])
def test_a_tone_is_loudest_in_its_band(tone_hz: float, band: int) -> None:
    seconds = torch.arange(24_000, dtype=torch.float64) / 24_000
    log_mel = PLAIN(torch.sin(2 * math.pi * tone_hz * seconds)[None])
    assert (log_mel[0, :, 10:-10].argmax(0) == band).all()


def test_silence_is_minus_100_db() -> None:
    assert (PLAIN(torch.zeros(1, 4800)) == -100).all()


@given(samples=st.integers(1025, 50_000))
@settings(max_examples=25, deadline=None)
def test_frames(samples: int) -> None:
    assert PLAIN(torch.zeros(2, samples)).shape == (2, 128, samples // 240)


def test_double_precision_is_accepted(recording: Tensor) -> None:
    waveform = recording[None, :5000]
    assert torch.equal(PLAIN(waveform.double()), PLAIN(waveform))
