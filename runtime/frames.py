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

import numpy as np

from ..kernels.log_mel import PAD_SAMPLES
from .parts import FRAMES
from .session import WAVEFORM, Session

# How many mel frames a step reads before and after its own, beyond one step's worth.
_CONVOLUTION_REACH = 5


class OverlappingFrames:
    """Frames of the windows of one stream; holds those of the latest window, and no samples.

    Windows may be of any length and begin at any step; what a window shares with the one before
    it is not computed again.

    Args:
        front_end: of a session's parts.
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

        Raises:
            SessionError: the engine failed.
        """
        samples = waveform.shape[-1]
        oldest = _ceil_divide(self._reach_samples, self._step_samples)
        newest = (samples - self._reach_samples) // self._step_samples
        inner = range(oldest, max(oldest, newest + 1))
        moved = start_step - self._start_step
        first = max(inner.start, self._inner.start - moved)
        stop = min(inner.stop, self._inner.stop - moved)
        # The samples of as many whole steps are cut out as only known steps have read on both
        # sides of the cut: the steps before ``first`` read no farther than the cut, those from
        # ``stop`` on read nothing before its end.
        removed = stop - first + 1 - _ceil_divide(2 * self._reach_samples, self._step_samples)
        if self._frames is None or removed <= 0:
            frames = self._run(waveform)
        else:
            known = self._frames[:, first + moved : stop + moved]
            cut = (first - 1) * self._step_samples + self._reach_samples
            rest = waveform[:, cut + removed * self._step_samples :]
            found = self._run(np.concatenate([waveform[:, :cut], rest], axis=1))
            frames = np.concatenate([found[:, :first], known, found[:, stop - removed :]], axis=1)
        self._start_step, self._frames, self._inner = start_step, frames, inner
        return frames

    def _run(self, waveform: np.ndarray) -> np.ndarray:
        return self._front_end.run({WAVEFORM: waveform}, [FRAMES])[FRAMES]


def _ceil_divide(number: int, divisor: int) -> int:
    return -(-number // divisor)
