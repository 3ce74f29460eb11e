"""The front end's frames of overlapping windows, each computed once.

The mel and the convolutions are local in time, and half of the model's work. Step t reads the
samples from t * step - reach to t * step + reach and no others. With k mel frames a step:

- the second block's convolutions, the first of stride k / 2, read the first block's columns from
  (t - 1) * k / 2 - 1 to (t + 1) * k / 2 + 1;
- the first block's, the first of stride 2, read for column c the mel frames 2c - 3 to 2c + 3;
  together that is t * k - (k + 5) to t * k + (k + 5);
- mel frame f reads half an STFT window before and after its centre at f * hop.

So reach = (k + 5) * hop + half an STFT window: 3184 samples, of steps of 960. Only steps nearer
than that to a window's edge depend on the edge, where the STFT reflects and the convolutions pad:
the 4 oldest and the 3 newest of a window. They are computed with their own window's edges, and so
every window's frames are those of the front end on that window alone.
"""

from dataclasses import dataclass

import numpy as np

from ...kernels.log_mel.contract import PAD_SAMPLES
from ..bundle.parts import FRAMES
from ..engines.session import WAVEFORM, Session
from .windows import ceil_divide

# How many mel frames a step reads before and after its own, beyond one step's worth.
_CONVOLUTION_REACH = 5


@dataclass(frozen=True, eq=False)
class FrameExcerpt:
    """What the front end has to run on for a window, and how its frames then fit in.

    Attributes:
        waveform: (batch, samples) float32: the window, or what is new of it with its edges.
        start_step: where the window begins in its stream.
        inner: the window's steps that do not depend on its edges.
        known: which of the window's steps need not be found.
        removed: how many steps' samples were cut out.
    """

    waveform: np.ndarray
    start_step: int
    inner: range
    known: range
    removed: int


class OverlappingFrames:
    """Frames of the windows of one stream; holds those of the latest window, and no samples.

    Windows may be of any length and begin at any step; what a window shares with the one before
    it is not computed again.

    Args:
        front_end: the front end of a session's parts.
    """

    def __init__(self, front_end: Session) -> None:
        self._front_end, framing = front_end, front_end.framing
        self._step_samples = framing.step_samples
        reach_frames = framing.step_samples // framing.hop_samples + _CONVOLUTION_REACH
        self._reach_samples = reach_frames * framing.hop_samples + PAD_SAMPLES
        self._start_step = 0
        self._frames: np.ndarray | None = None
        # Of the latest window, the steps that do not depend on its edges.
        self._inner = range(0)

    def of(self, start_step: int, waveform: np.ndarray) -> np.ndarray:
        """The frames of a window that begins at this step of the stream.

        Args:
            start_step: counted from any beginning, the same for all windows.
            waveform: (batch, samples) float32, the window.

        Returns:
            (batch, steps, width) float32: what the front end gives for the window alone, but for
            rounding.
        """
        excerpt = self.excerpt(start_step, waveform)
        return self.complete(excerpt, self._front_end.run({WAVEFORM: excerpt.waveform})[FRAMES])

    def excerpt(self, start_step: int, waveform: np.ndarray) -> FrameExcerpt:
        """What to run the front end on for ``of``, for callers that run several streams at once."""
        samples = waveform.shape[-1]
        oldest = ceil_divide(self._reach_samples, self._step_samples)
        newest = (samples - self._reach_samples) // self._step_samples
        inner = range(oldest, max(oldest, newest + 1))
        moved = start_step - self._start_step
        known = range(
            max(inner.start, self._inner.start - moved), min(inner.stop, self._inner.stop - moved)
        )
        # The samples of as many whole steps are cut out as only known steps have read on both
        # sides of the cut: the steps before the known read no farther than the cut, those after
        # them read nothing before its end.
        spoiled = ceil_divide(2 * self._reach_samples, self._step_samples) - 1
        removed = known.stop - known.start - spoiled
        if self._frames is None or removed <= 0:
            return FrameExcerpt(waveform, start_step, inner, range(0), 0)
        cut = (known.start - 1) * self._step_samples + self._reach_samples
        rest = waveform[:, cut + removed * self._step_samples :]
        short = np.concatenate([waveform[:, :cut], rest], axis=1)
        return FrameExcerpt(short, start_step, inner, known, removed)

    def complete(self, excerpt: FrameExcerpt, found: np.ndarray) -> np.ndarray:
        """A window's frames, from those that the front end gave for its excerpt."""
        if excerpt.removed:
            assert self._frames is not None  # or nothing would be known
            moved, known = excerpt.start_step - self._start_step, excerpt.known
            held = self._frames[:, known.start + moved : known.stop + moved]
            newer = found[:, known.stop - excerpt.removed :]
            found = np.concatenate([found[:, : known.start], held, newer], axis=1)
        self._start_step, self._frames, self._inner = excerpt.start_step, found, excerpt.inner
        return found
