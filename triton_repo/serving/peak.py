"""Refuse samples that are not between -1 and 1."""

import numpy as np

from ...errors import AudioError

# Above any music: those who send 16-bit samples as floats forgot to divide by 32768.
LARGEST_SAMPLE = 4.0


def check_peak(waveform: np.ndarray, name: str) -> None:
    """Raise AudioError if a sample is far above 1; NaN is left to the check of finite numbers.

    Args:
        waveform: float32 of any shape.
        name: what it is, for the message.
    """
    peak = float(max(waveform.max(), -waveform.min())) if waveform.size else 0.0
    if peak > LARGEST_SAMPLE:
        raise AudioError(
            f"{name}: a sample of {peak:g}; they are from -1 to 1, and at most {LARGEST_SAMPLE:g}. "
            "Divide 16-bit samples by 32768."
        )
