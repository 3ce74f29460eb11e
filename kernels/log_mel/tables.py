"""LogMel, fused: the transform that suits tensor cores, and every constant of it in one tensor.

A frame's 2048 windowed samples are two halves, the even and the odd ones, h[n] with n < 1024. Each
gets a 1024-point DFT in two stages of 32 (Cooley-Tukey). With n = 32 a + b and k = c + 32 d,

    H[c + 32 d] = sum_b  e^(-2 pi i b d / 32)  *  e^(-2 pi i b c / 1024)  *  Y[b, c]
    Y[b, c]     = sum_a  h[n] e^(-2 pi i a c / 32)

for d < 16 only, as k < 512 is enough: with r = e^(-2 pi i k / 2048), |E + r O|^2 is the whole
frame's power in bin k and |E - r O|^2 that in bin 1024 - k. The one bin left, 512, has
(sum (-1)^n e[n])^2 + (sum (-1)^n o[n])^2. It takes the place of bin 1024, which is in no band.

A bin counts for two neighbouring bands at most. The bins whose lower band is m are at most 32
consecutive ones: the taps of band m. Each has a weight in m and one in m + 1.
"""

import numpy as np

from .contract import MELS, WINDOW_SAMPLES, mel_filterbank

POINTS = 32  # of either stage: a, b, c; twice as many as d
HALF_SAMPLES = POINTS * POINTS  # n
HALF_BINS = HALF_SAMPLES // 2  # k
TAPS = 32

# Where each table begins; all are in row-major order, real before imaginary parts.
WINDOW = 0  # (even or odd, n)
FOURIER = WINDOW + WINDOW_SAMPLES  # (real or imaginary, a or b, c or d)
TWIDDLES = FOURIER + 2 * POINTS * POINTS  # (real or imaginary, b, c)
ROTATIONS = TWIDDLES + 2 * POINTS * POINTS  # (even or odd, real or imaginary, c, d): 1 and r
PLACES = ROTATIONS + 2 * 2 * HALF_BINS  # (tap, band): a place as of ``place_of_bin``
WEIGHTS = PLACES + TAPS * MELS  # (in the lower or the upper band, tap, band)
SIZE = WEIGHTS + 2 * TAPS * MELS


def tables() -> np.ndarray:
    """All constants: computed in float64, rounded once.

    Returns:
        (SIZE,) float32.
    """
    a, c = np.mgrid[:POINTS, :POINTS]
    fourier = np.exp(-2j * np.pi * a * c / POINTS)
    twiddles = np.exp(-2j * np.pi * a * c / HALF_SAMPLES)
    rotation = np.exp(-2j * np.pi * (a + POINTS * c)[:, : POINTS // 2] / WINDOW_SAMPLES)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    places, weights = _taps()
    parts = [
        hann.reshape(HALF_SAMPLES, 2).T,
        *(fourier.real, fourier.imag),
        *(twiddles.real, twiddles.imag),
        *(np.ones_like(rotation.real), np.zeros_like(rotation.real)),
        *(rotation.real, rotation.imag),
        *(places, weights),
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def place_of_bin() -> np.ndarray:
    """Where the transform leaves the power of each bin of a frame.

    Returns:
        (1024,) int: by bin, an index into (c, d, low or high), flattened. Bin 0, which is in
        no band either, has a place of its own; bin 512 has that of bin 1024.
    """
    bins = np.arange(2 * HALF_BINS)
    high = bins >= HALF_BINS
    k = np.where(high, 2 * HALF_BINS - bins, bins)
    k[HALF_BINS] = 0
    c, d = k % POINTS, k // POINTS
    return (c * (POINTS // 2) + d) * 2 + high


def _taps() -> tuple[np.ndarray, np.ndarray]:
    """Places (TAPS, MELS) and weights (2, TAPS, MELS); a tap too many weighs nothing."""
    filterbank = np.pad(mel_filterbank(), ((0, 0), (0, 1)))  # no band above the last
    places = np.zeros((TAPS, MELS))
    weights = np.zeros((2, TAPS, MELS))
    heard = np.arange(1, 2 * HALF_BINS)
    lower_band = np.argmax(filterbank[heard] > 0, axis=1)
    for band in range(MELS):
        bins = heard[lower_band == band]
        places[: len(bins), band] = place_of_bin()[bins]
        weights[:, : len(bins), band] = filterbank[bins, band : band + 2].T
    return places, weights
