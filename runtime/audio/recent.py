"""The newest samples of a stream."""

import numpy as np


class RecentSamples:
    """The newest samples of a stream, addressed by their position in it.

    Attributes:
        stop: number of samples that the stream has had.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = [np.zeros(0, np.float32)]
        self._start = 0
        self.stop = 0

    def append(self, block: np.ndarray) -> None:
        """Add (samples,) at the end."""
        # Joined only when read, so that small blocks are not copied again and again.
        self._parts.append(block)
        self.stop += len(block)

    def between(self, first: int, last: int) -> np.ndarray:
        """The samples from ``first`` up to ``last``, none of which may have been dropped."""
        return self._joined()[first - self._start : last - self._start]

    def drop_before(self, position: int) -> None:
        """Forget the samples before this position."""
        self._parts = [self._joined()[position - self._start :]]
        self._start = position

    def _joined(self) -> np.ndarray:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]
