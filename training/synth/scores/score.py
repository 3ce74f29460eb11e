"""A score: what its notes are, and what is known of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreNote:
    """A note: its part, its start and length in quarters, a MIDI key, a velocity where written."""

    part: int
    start: float
    quarters: float
    key: int
    velocity: int | None = None


@dataclass(frozen=True)
class ScorePart:
    """A part, with the General MIDI program that its file asks for (a kit's, of drums), if any."""

    program: int | None = None
    is_drums: bool = False
    volume: int = 100


@dataclass(frozen=True)
class Score:
    """A score, or a recorded performance in its form.

    Args:
        parts: in the order of the score.
        notes: of all parts, by start.
        quarters: its length.
        bar: quarters in a bar; None: unknown, or it changes.
        beats: in a bar, where they are quarters; None: unknown, or others.
        tempo_bpm: quarter notes a minute, where it can be trusted.
        key: tonic (pitch class) and mode, where both are known.
    """

    parts: tuple[ScorePart, ...]
    notes: tuple[ScoreNote, ...]
    quarters: float
    bar: float | None = None
    beats: int | None = None
    tempo_bpm: float | None = None
    key: tuple[int, str] | None = None
