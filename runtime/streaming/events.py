"""Tags of a live stream as events: when each begins and when it is over."""

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import UsageError
from ..bundle.tagging import TAGS, Tagging
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


@dataclass
class _Run:
    """A tag that is present; ``announced`` once it has lasted for the minimum."""

    start_seconds: float
    score: float
    announced: bool = False


class TagEvents:
    """The events of one stream, from its hops in order.

    A tag begins when its score reaches its threshold. Each window stands for the stretch of the
    stream that is nearer to its middle than to any other window's, the first from 0 on, the last
    to the end. So an event lies half a window back when it becomes known.

    Args:
        tagging: the tags' names and thresholds.
        smoothing: how they are kept from flickering.
    """

    def __init__(self, tagging: Tagging, smoothing: Smoothing | None = None) -> None:
        self._names = tagging.vocabulary
        self._smoothing = smoothing or Smoothing()
        self._thresholds = np.array(tagging.thresholds)
        self._runs: dict[int, _Run] = {}  # by the tag's index
        self._middle_seconds: float | None = None  # of the latest window
        self._segments: deque[Event] = deque(maxlen=_MOST_SEGMENTS)

    @property
    def segments(self) -> list[Event]:
        """The tags that are over, in the order in which they ended; the newest 10,000."""
        return list(self._segments)

    def push(self, hop: Hop) -> list[Event]:
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
        scores = hop.outputs[TAGS]
        present = set(np.flatnonzero(scores >= limits).tolist())
        events = []
        for index in sorted(self._runs.keys() | present):
            if index not in present:
                events += self._end(index, edge)
                continue
            score = float(scores[index])
            run = self._runs.setdefault(index, _Run(edge, score))
            run.score = max(run.score, score)
            # The window's stretch reaches beyond its middle, wherever it will end.
            events += self._announce(index, middle)
        return events

    def finish(self, end_seconds: float) -> list[Event]:
        """End the stream at ``end_seconds``; returns the events of the tags that end with it.

        Raises:
            UsageError: it ended before the last hop's middle.
        """
        if self._middle_seconds is not None and not end_seconds > self._middle_seconds:
            raise UsageError(
                f"a stream that ended at {end_seconds:.2f} s, after a hop around "
                f"{self._middle_seconds:.2f} s; pass the seconds from its beginning."
            )
        return [event for index in sorted(self._runs) for event in self._end(index, end_seconds)]

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

    def _announce(self, index: int, until_seconds: float) -> list[Event]:
        """The event that a run has begun, if it has lasted for the minimum by then."""
        run = self._runs[index]
        lasted = until_seconds - run.start_seconds + _ROUNDING_SECONDS
        if run.announced or lasted < self._smoothing.minimum_seconds:
            return []
        run.announced = True
        return [Event(self._names[index], run.start_seconds, None, run.score)]

    def _end(self, index: int, edge_seconds: float) -> list[Event]:
        """End a run; it may have lasted for the minimum only now."""
        events = self._announce(index, edge_seconds)
        run = self._runs.pop(index)
        if run.announced:
            over = Event(self._names[index], run.start_seconds, edge_seconds, run.score)
            self._segments.append(over)
            events.append(over)
        return events
