"""Retries with growing random pauses, until patience runs out."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Backoff:
    """Pauses that double with every failure in a row, up to the longest.

    Each is random, between half and the whole of that, so that clients which failed together do
    not come back together.
    """

    first_seconds: float
    longest_seconds: float

    def pause_seconds(self, failures: int) -> float:
        """How long to wait after this many earlier failures in a row."""
        longest = min(self.first_seconds * 2**failures, self.longest_seconds)
        return random.uniform(longest / 2, longest)


class Retry:
    """Counts failures in a row, and says how long to pause after each.

    Args:
        backoff: the pauses.
        patience_seconds: for how long failures in a row are retried.
        most: how many failures in a row are retried.
        since: clock time from which patience is counted; the first failure's when None.
        clock: gives the time in seconds; ``time.monotonic`` when None.
        sleep: waits for so many seconds; ``time.sleep`` when None.

    Attributes:
        failures: how many there were since the last success.
    """

    def __init__(
        self,
        backoff: Backoff,
        patience_seconds: float = inf,
        most: float = inf,
        since: float | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._backoff, self._patience_seconds, self._most = backoff, patience_seconds, most
        self._since = self._began = since
        self._clock, self.sleep = clock or time.monotonic, sleep or time.sleep
        self.failures = 0

    def succeeded(self) -> None:
        """Forget the failures so far."""
        self.failures, self._since = 0, self._began

    def pause_after(self, error: Exception) -> float:
        """Count a failure; returns how many seconds to wait before the next attempt.

        Raises:
            Exception: the error given, if the pause would end after ``patience_seconds``, or this
                is one failure more than ``most``.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        pause = self._backoff.pause_seconds(self.failures)
        if self.failures >= self._most or now + pause > self._since + self._patience_seconds:
            raise error
        self.failures += 1
        return pause

    def call(self, attempt: Callable[[], _T], kind: type[Exception]) -> _T:
        """The attempt's result, tried again after errors of this kind; the last one is raised."""
        while True:
            try:
                return attempt()
            except kind as error:
                self.sleep(self.pause_after(error))
