"""LogMel, the contract: MuQ's spectrogram constants and the matrices of its two-stage transform.

A frame's 2048-point DFT is split (Cooley-Tukey) into 16 interleaved DFTs of 128 points and
combining DFTs of 16 points. With sample n = 16 a + b and bin k = c + 128 d,

    X[c + 128 d] = sum_b  e^(-2 pi i b d / 16)  *  Y[b, c]
    Y[b, c]      = sum_a  w[n] x[n] e^(-2 pi i (a c / 128 + b c / 2048))

so the window and the twiddle factors are part of the first stage's constants. The hop, 240, is a
multiple of 16: the first stage is a strided convolution over the 16 phases of the waveform, and
neither stage needs frames to be cut out. As the input is real, c from 0 to 64 suffices; the bins
above 1024 that then appear stand for their mirror images, with the same power. Column 65 is there
for its number alone and weighs nothing: ONNX Runtime's WebGPU convolution takes four channels at
once, so a group must have a multiple of four, as 2 * 66 is and 2 * 65 is not.
"""

import numpy as np

SAMPLE_RATE_HZ = 24_000
WINDOW_SAMPLES = 2048
HOP_SAMPLES = 240
MELS = 128
PAD_SAMPLES = WINDOW_SAMPLES // 2  # reflected at each end, so frames are centred
MINIMUM_SAMPLES = PAD_SAMPLES + 1  # reflection needs one sample more than it pads
FLOOR = 1e-10  # of the mel power: silence is -100 dB

PHASES = 16  # b and d
POINTS = WINDOW_SAMPLES // PHASES  # a
COLUMNS = POINTS // 2 + 2  # c


def mel_filterbank() -> np.ndarray:
    """HTK mel triangles without normalisation, 0 Hz to Nyquist.

    Returns:
        (1025, 128) float64: weight of each STFT bin in each band.
    """
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, WINDOW_SAMPLES // 2 + 1)
    edges_mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700), MELS + 2)
    edges_hz = 700 * (10 ** (edges_mel / 2595) - 1)
    left, centre, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - left) / (centre - left)
    falling = (right - bins_hz[:, None]) / (right - centre)
    return np.maximum(np.minimum(rising, falling), 0)


def first_stage() -> np.ndarray:
    """The windowed, twiddled 128-point DFTs as a convolution kernel with 16 groups.

    Returns:
        (16 * 2 * 66, 1, 128) float64: output channel (b, real or imaginary, c), tap a.
    """
    a = np.arange(POINTS)
    b = np.arange(PHASES)[:, None, None]
    c = np.arange(COLUMNS)[:, None]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (PHASES * a + b) / WINDOW_SAMPLES)
    kernel = hann * np.exp(-2j * np.pi * (a * c / POINTS + b * c / WINDOW_SAMPLES))
    return np.stack([kernel.real, kernel.imag], axis=1).reshape(-1, 1, POINTS)


def second_stage() -> np.ndarray:
    """The combining 16-point DFTs.

    Returns:
        (2 * 16, 16 * 2) float64: row (real or imaginary, d), column (b, real or imaginary).
    """
    d, b = np.mgrid[:PHASES, :PHASES]
    rotation = np.exp(-2j * np.pi * b * d / PHASES)
    real = np.stack([rotation.real, -rotation.imag], axis=-1)
    imaginary = np.stack([rotation.imag, rotation.real], axis=-1)
    return np.stack([real, imaginary]).reshape(2 * PHASES, 2 * PHASES)


def mel_projection() -> np.ndarray:
    """The filterbank in the order in which the second stage leaves the bins.

    Returns:
        (128, 16 * 66) float64: column (d, c); zero where a bin appears a second time.
    """
    d, c = np.mgrid[:PHASES, :COLUMNS]
    bins = (c + POINTS * d).ravel()
    folded = np.where(bins > WINDOW_SAMPLES // 2, WINDOW_SAMPLES - bins, bins)
    projection = mel_filterbank()[folded].T.copy()
    # Columns 0 and 64 are their own mirror images, so their bins come twice; column 65 mirrors 63.
    own_mirror = np.isin(c.ravel(), [0, POINTS // 2]) & (bins > WINDOW_SAMPLES // 2)
    projection[:, own_mirror | (c.ravel() > POINTS // 2)] = 0
    return projection
