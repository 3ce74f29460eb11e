"""Cut a stream of samples into clips for a MuQ-MuLan."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...errors import AudioError
from ..audio.recent import RecentSamples
from ..bundle.manifest import Framing
from .windows import Window, ceil_divide

LastClip = Literal["wrapped", "padded"]


@dataclass(frozen=True)
class ClippingConfig:
    """How tracks are cut into clips that follow one another without overlap.

    Attributes:
        framing: the model's.
        clip_samples: length of a clip.
        last_clip: what fills an incomplete last one. "wrapped", as in the official package: the
            track's beginning, once, so that a track shorter than half a clip becomes one clip twice
            its length. "padded": zeros.
    """

    framing: Framing
    clip_samples: int
    last_clip: LastClip = "wrapped"
    overlap_steps: int = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What results depend on, as they record it."""
        return {
            "window_seconds": self.clip_samples / self.framing.sample_rate_hz,
            "overlap_seconds": 0.0,
            "last_clip": self.last_clip,
        }

    def cut(self, blocks: Iterable[np.ndarray], name: str = "audio") -> Iterator[Window]:
        """Cut a track into clips, whatever the sizes of the blocks (samples,) it comes in.

        At most two clips and one block are held.
        """
        recent, beginning = RecentSamples(), np.zeros(0, np.float32)
        start = 0
        for block in blocks:
            recent.append(block)
            if len(beginning) < self.clip_samples:
                beginning = recent.between(0, min(self.clip_samples, recent.stop))
            while recent.stop > start + self.clip_samples:  # only then is it not the last
                yield self._clip(start, recent.between(start, start + self.clip_samples), False)
                start += self.clip_samples
                recent.drop_before(start)
        last = self._filled(recent.between(start, recent.stop), beginning)
        if len(last) < self.framing.minimum_samples:
            rate_hz = self.framing.sample_rate_hz
            raise AudioError(
                f"{name}: too short: {recent.stop / rate_hz:.3f} s; a clip has to have at least "
                f"{self.framing.minimum_samples / rate_hz:.3f} s."
            )
        yield self._clip(start, last, True)

    def _filled(self, clip: np.ndarray, beginning: np.ndarray) -> np.ndarray:
        missing = self.clip_samples - len(clip)
        filler = beginning if self.last_clip == "wrapped" else np.zeros(missing, np.float32)
        return np.concatenate([clip, filler[:missing]]) if len(clip) else clip

    def _clip(self, start: int, waveform: np.ndarray, is_last: bool) -> Window:
        step_samples = self.framing.step_samples
        first, stop = start // step_samples, ceil_divide(start + len(waveform), step_samples)
        return Window(first, stop - first, waveform, range(first, stop), is_last)
