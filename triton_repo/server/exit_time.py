"""The time that a stop may take, shared by a server and what stands in front of it."""

import time
from collections.abc import Callable


class ExitTime:
    """Seconds for requests in flight, which run from the moment when the first part stops.

    Args:
        seconds: altogether.
        clock: in seconds, monotonic.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._began: float | None = None

    def begin(self) -> None:
        """Let the time run from now on. The second call changes nothing."""
        if self._began is None:
            self._began = self._clock()

    @property
    def left_seconds(self) -> float:
        """What is left: all of it before ``begin``, and never less than 0."""
        if self._began is None:
            return self._seconds
        return max(self._began + self._seconds - self._clock(), 0.0)
