"""Resample a stream block by block."""

import numpy as np
import soxr

QUALITY = "VHQ"


class Resampler:
    """One stream of mono samples from one rate to another.

    Its blocks joined are what resampling the whole stream at once gives. Of a stream at 44.1 or
    48 kHz the latest 6 to 37 ms wait for what follows; of one at 8 kHz, 18 to 153 ms.
    """

    def __init__(self, rate_hz: int, target_rate_hz: int) -> None:
        self._stream = None
        if rate_hz != target_rate_hz:
            self._stream = soxr.ResampleStream(
                rate_hz, target_rate_hz, 1, dtype="float32", quality=QUALITY
            )

    def push(self, block: np.ndarray) -> np.ndarray:
        """The samples that are complete now, float32 (samples,), perhaps none."""
        if self._stream is None:
            return block
        found: np.ndarray = self._stream.resample_chunk(block)
        return found

    def finish(self) -> np.ndarray:
        """The last samples, once the stream has ended."""
        none = np.zeros(0, np.float32)
        if self._stream is None:
            return none
        found: np.ndarray = self._stream.resample_chunk(none, last=True)
        return found
