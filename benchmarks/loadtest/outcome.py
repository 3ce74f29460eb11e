"""What became of the streams."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...runtime.streaming.stream import SlidingConfig
from .plan import Life

_KIND_CHARACTERS = 160


@dataclass(frozen=True)
class Answer:
    """One hop's tags; all times in seconds from the beginning of the test.

    Attributes:
        due_seconds: when the hop's last sample had been heard.
        arrived_seconds: when it arrived, chunked and over the network.
        answered_seconds: when its tags were there.
    """

    due_seconds: float
    arrived_seconds: float
    answered_seconds: float

    @property
    def latency_seconds(self) -> float:
        """From the end of the hop's audio to its tags."""
        return self.answered_seconds - self.due_seconds

    @property
    def service_seconds(self) -> float:
        """The part of it that is not chunking or the network's."""
        return self.answered_seconds - self.arrived_seconds


@dataclass
class Outcome:
    """Counts and answers, gathered while the test runs.

    Attributes:
        opened: streams whose first chunk was sent.
        vanished: those that went without END.
        refused: those, or with churn the attempts, that met a full server.
        expected_hops: of all streams that were not refused.
        audio_seconds: sent and taken.
        busy_seconds: that the engine ran, where it is known.
        errors: other failures, by kind.
        ready: whether the server said so, each time it was asked.
    """

    answers: list[Answer] = field(default_factory=list)
    opened: int = 0
    vanished: int = 0
    refused: int = 0
    expected_hops: int = 0
    audio_seconds: float = 0.0
    busy_seconds: float | None = None
    errors: Counter[str] = field(default_factory=Counter)
    ready: list[bool] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        """Count a failure. Those of one kind differ in their ids and counts only."""
        self.errors[re.sub(r"[0-9]+", "#", str(error))[:_KIND_CHARACTERS]] += 1

    def answer(self, life: Life, ends_seconds: Iterable[float], answered_seconds: float) -> None:
        """Note the hops of a life that ended at these places of it."""
        for end in ends_seconds:
            due, arrived = life.due_seconds(end), life.arrived_seconds(end)
            self.answers.append(Answer(due, arrived, answered_seconds))


def expected_hops(life: Life, sliding: SlidingConfig) -> int:
    """How many hops a life gets, if nothing fails; the last chunk of one that vanishes is lost."""
    step_samples = sliding.framing.step_samples
    samples = life.chunks[life.delivered - 1].last if life.delivered else 0
    found = hops = end_step = 0
    while True:
        hops, next_step = sliding.following(hops)
        if next_step * step_samples > samples:
            break
        found, end_step = found + 1, next_step
    has_rest = not life.vanishes and samples > end_step * step_samples
    return found + has_rest
