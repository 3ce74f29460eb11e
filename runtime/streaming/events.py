"""Tags and silences of a live stream as events: when each begins and when it is over."""

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import UsageError
from ..bundle.tagging import TAGS, Segment, Tagging, present
from .engine import Hop

# A stream may last for days.
_MOST_SEGMENTS = 10_000
# Far below a sample, far above the rounding of a stream's seconds: a stretch of exactly the
# minimum counts.
_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True)
class Smoothing:
    """What keeps tags from flickering.

    Attributes:
        minimum_seconds: shorter stretches are left out.
        release: a tag is over when its score falls below this share of its threshold.

    Raises:
        UsageError: a negative or endless minimum, or a release not above 0 or above 1.
    """

    minimum_seconds: float = 1.0
    release: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_seconds < math.inf:
            raise UsageError(f"a minimum of {self.minimum_seconds} s; it must be at least 0.")
        if not 0 < self.release <= 1:
            raise UsageError(f"a release of {self.release}; it must be above 0 and at most 1.")


class Event(NamedTuple):
    """A tag has begun, ``end_seconds`` being None, or is over.

    ``score`` is the highest that it has had since it began.
    """

    tag: str
    start_seconds: float
    end_seconds: float | None
    score: float

    def __str__(self) -> str:
        if self.end_seconds is None:
            return f"{self.tag} from {self.start_seconds:.1f} s"
        return f"{self.tag} {self.start_seconds:.1f} to {self.end_seconds:.1f} s"


class Silence(NamedTuple):
    """A silence has begun, ``end_seconds`` being None, or is over."""

    start_seconds: float
    end_seconds: float | None

    def __str__(self) -> str:
        if self.end_seconds is None:
            return f"silence from {self.start_seconds:.1f} s"
        return f"silence {self.start_seconds:.1f} to {self.end_seconds:.1f} s"


@dataclass
class _Run:
    """A tag or a silence that is present; ``announced`` once it has lasted for the minimum."""

    start_seconds: float
    score: float
    announced: bool = False


class TagEvents:
    """The events of one stream, from its hops in order.

    A tag begins when its score reaches its threshold. Each window stands for the stretch of the
    stream that is nearer to its middle than to any other window's, the first from 0 on, the last
    to the end. So an event lies half a window back when it becomes known. In windows of silence
    all tags are over.

    Events come in the order of the times they tell: an end waits while a tag that began earlier
    has not yet lasted for the minimum.

    Args:
        tagging: the tags' names and thresholds.
        smoothing: how they are kept from flickering.
    """

    def __init__(self, tagging: Tagging, smoothing: Smoothing | None = None) -> None:
        self._names, self._tagging = tagging.vocabulary, tagging
        self._smoothing = smoothing or Smoothing()
        # Silence is one more column behind the tags'.
        self._thresholds = np.array([*tagging.thresholds, 1.0])
        self._runs: dict[int, _Run] = {}  # by the column
        self._middle_seconds: float | None = None  # of the latest window
        self._segments: deque[Event] = deque(maxlen=_MOST_SEGMENTS)
        self._silences: deque[Segment] = deque(maxlen=_MOST_SEGMENTS)
        self._waiting: list[Event | Silence] = []

    @property
    def segments(self) -> list[Event]:
        """The tags that are over, in the order in which they ended; the newest 10,000."""
        return list(self._segments)

    @property
    def silences(self) -> list[Segment]:
        """The silences that are over, in order; the newest 10,000."""
        return list(self._silences)

    def push(self, hop: Hop) -> list[Event | Silence]:
        """The events that this hop makes known.

        Raises:
            UsageError: a hop without tags, or not later than the one before.
        """
        if TAGS not in hop.outputs:
            raise UsageError('a hop without tags; ask for them: Streaming(..., outputs=("tags",)).')
        edge, middle = self._edge_and_middle(hop)
        self._middle_seconds = middle
        limits = self._thresholds.copy()
        limits[list(self._runs)] *= self._smoothing.release
        tags = np.full(len(self._names), -1.0) if hop.is_silent else hop.outputs[TAGS]
        scores = np.append(tags, float(hop.is_silent))
        counts = [*present(self._tagging, scores[:-1], limits[:-1]), hop.is_silent]
        now = set(np.flatnonzero(counts).tolist())
        for column in sorted(self._runs.keys() | now):
            if column not in now:
                self._end(column, edge)
                continue
            score = float(scores[column])
            run = self._runs.setdefault(column, _Run(edge, score))
            run.score = max(run.score, score)
            # The window's stretch reaches beyond its middle, wherever it will end.
            self._announce(column, middle)
        return self._in_order()

    def finish(self, end_seconds: float) -> list[Event | Silence]:
        """End the stream at ``end_seconds``; returns the events of what ends with it.

        Raises:
            UsageError: it ended before the last hop's middle.
        """
        if self._middle_seconds is not None and not end_seconds > self._middle_seconds:
            raise UsageError(
                f"a stream that ended at {end_seconds:.2f} s, after a hop around "
                f"{self._middle_seconds:.2f} s; pass the seconds from its beginning."
            )
        for column in sorted(self._runs):
            self._end(column, end_seconds)
        return self._in_order()

    def _edge_and_middle(self, hop: Hop) -> tuple[float, float]:
        """From where on a window stands for the stream, and its middle, in seconds."""
        middle = (hop.start_seconds + hop.end_seconds) / 2
        if self._middle_seconds is None:
            return 0.0, middle
        if middle > self._middle_seconds:
            return (self._middle_seconds + middle) / 2, middle
        raise UsageError(
            f"a hop from {hop.start_seconds:.2f} to {hop.end_seconds:.2f} s after a later one; "
            "push them in order, and those of one stream only."
        )

    def _announce(self, column: int, until_seconds: float) -> None:
        """Say that a run has begun, if it has lasted for the minimum by then."""
        run = self._runs[column]
        lasted = until_seconds - run.start_seconds + _ROUNDING_SECONDS
        if not run.announced and lasted >= self._smoothing.minimum_seconds:
            run.announced = True
            self._waiting.append(self._event(column, run, None))

    def _end(self, column: int, edge_seconds: float) -> None:
        """End a run; it may have lasted for the minimum only now."""
        self._announce(column, edge_seconds)
        run = self._runs.pop(column)
        if not run.announced:
            return
        over = self._event(column, run, edge_seconds)
        self._waiting.append(over)
        if isinstance(over, Event):
            self._segments.append(over)
        else:
            self._silences.append(Segment(run.start_seconds, edge_seconds))

    def _event(self, column: int, run: _Run, end_seconds: float | None) -> Event | Silence:
        if column == len(self._names):
            return Silence(run.start_seconds, end_seconds)
        return Event(self._names[column], run.start_seconds, end_seconds, run.score)

    def _in_order(self) -> list[Event | Silence]:
        """What can be said now: nothing earlier may still become known."""
        unsure = [run.start_seconds for run in self._runs.values() if not run.announced]
        until_seconds = min(unsure, default=math.inf)
        self._waiting.sort(key=_time_seconds)
        sure = [each for each in self._waiting if _time_seconds(each) <= until_seconds]
        self._waiting = self._waiting[len(sure) :]
        return sure


def _time_seconds(event: Event | Silence) -> float:
    """The time that an event tells."""
    return event.start_seconds if event.end_seconds is None else event.end_seconds
