"""Levels: root mean square, loudness by ITU-R BS.1770, a limiter."""

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from ..synthesizer import SAMPLE_RATE_HZ

_LOOK_AHEAD = round(0.003 * SAMPLE_RATE_HZ)  # samples
_TRIES = 3  # a limiter takes loudness away, which more gain gives back
_CLOSE_LU = 0.3
_SILENT_LUFS = -70.0


def rms(audio: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(audio**2)))


def loudness(audio: np.ndarray) -> float:
    """Integrated loudness of (samples,) in LUFS; -inf of silence or of under 0.4 s."""
    import pyloudnorm

    meter = pyloudnorm.Meter(SAMPLE_RATE_HZ)
    if len(audio) < meter.block_size * SAMPLE_RATE_HZ or not audio.any():
        return float("-inf")
    return float(meter.integrated_loudness(audio))


def limited(audio: np.ndarray, ceiling: float) -> np.ndarray:
    """(samples,) with no peak above ``ceiling``: turned down a little ahead of each."""
    peaks = maximum_filter1d(np.abs(audio), 2 * _LOOK_AHEAD + 1)
    gain = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-12))
    # An average over the look-ahead of gains that all pass the peak passes it as well.
    return audio * uniform_filter1d(gain, _LOOK_AHEAD | 1)


def mastered(audio: np.ndarray, lufs: float, ceiling: float) -> np.ndarray:
    """(samples,) brought to a loudness and limited; what cannot be so loud stays softer."""
    heard = audio
    for _ in range(_TRIES):
        now = loudness(heard)
        if now < _SILENT_LUFS or abs(now - lufs) < _CLOSE_LU:
            break
        heard = limited(heard * 10 ** ((lufs - now) / 20), ceiling)
    return limited(heard, ceiling)
