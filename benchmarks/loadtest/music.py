"""The audio that the streams play."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...runtime.audio import read as audio
from .plan import Life

# The clips that come with the package and need no optional decoder.
_EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
_CLIPS = ("ode_to_joy_band.ogg", "greensleeves_duo.flac", "bach_prelude_c.mp3")
_FULL_SCALE = 32767


class Music:
    """Recordings in an endless loop, as 16-bit samples.

    Args:
        files: audio; the clips that come with the package when empty.
        rate_hz: what they are resampled to.

    Raises:
        AudioError: a file cannot be decoded.
    """

    def __init__(self, files: Sequence[Path], rate_hz: int) -> None:
        found = list(files) or [_EXAMPLES / name for name in _CLIPS]
        waveform = np.concatenate([audio.load(file, rate_hz) for file in found])
        self._samples = (waveform.clip(-1, 1) * _FULL_SCALE).astype(np.int16)

    def of(self, life: Life, first: int, stop: int) -> np.ndarray:
        """Int16 (samples,): the life's chunks ``first`` up to ``stop``."""
        chunks = life.chunks[first:stop]
        return self.excerpt(life.place, chunks[0].first, chunks[-1].last)

    def excerpt(self, place: float, first: int, last: int) -> np.ndarray:
        """Int16 (samples,): samples ``first`` up to ``last``, counted from ``place``, 0 to 1."""
        start = int(place * len(self._samples))
        return self._samples.take(range(start + first, start + last), mode="wrap")
