"""What counts as silence."""

import numpy as np

# Peak, in dB of full scale. Above what a file without sound can hold: dither of 16 bits reaches two
# steps, -84 dBFS. Far below what can be heard: where full scale is as loud as 100 dB, this is
# 20 dB, less than a quiet room.
SILENCE_DBFS = -80.0
_SILENCE_PEAK = 10 ** (SILENCE_DBFS / 20)


def is_silent(waveform: np.ndarray) -> bool:
    """Whether no sample, of any shape, is louder than ``SILENCE_DBFS``."""
    return bool(np.abs(waveform).max(initial=0.0) <= _SILENCE_PEAK)
