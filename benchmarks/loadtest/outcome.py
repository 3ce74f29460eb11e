"""What happened to the streams: counts and answers."""

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
        due_seconds: when the hop's last sample had sounded.
        arrived_seconds: when it arrived, in a chunk and over the network.
        answered_seconds: when its tags came.
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
        """From the arrival of the hop's audio to its tags, without chunking and the network."""
        return self.answered_seconds - self.arrived_seconds


@dataclass
class Outcome:
    """Counts and answers, gathered while the test runs.

    Attributes:
        opened: streams whose first chunk was sent.
        vanished: streams that disconnected without END.
        refused: streams, or with churn attempts, that met a full server.
        expected_hops: hops of all streams that were not refused.
        audio_seconds: how much audio was sent and accepted.
        busy_seconds: how long the engine ran, where it is known.
        errors: other failures, by kind.
        ready: the server's answers to whether it is ready.
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
        """Count a failure; messages that differ in numbers only are of one kind."""
        self.errors[re.sub(r"[0-9]+", "#", str(error))[:_KIND_CHARACTERS]] += 1

    def answer(self, life: Life, ends_seconds: Iterable[float], answered_seconds: float) -> None:
        """Record a life's hops that end at these seconds of it."""
        for end in ends_seconds:
            due, arrived = life.due_seconds(end), life.arrived_seconds(end)
            self.answers.append(Answer(due, arrived, answered_seconds))


def expected_hops(life: Life, sliding: SlidingConfig) -> int:
    """How many hops a life gets if nothing fails; a life that vanishes loses its last chunk."""
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
