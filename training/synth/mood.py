"""What the music is meant to feel like, and how it is therefore played."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .styles.style import STEPS_PER_BEAT


@dataclass(frozen=True)
class Mood:
    """What the music is meant to feel like, and what follows for how it is played.

    Args:
        velocity: MIDI velocity all others are relative to.
        density: 0 sparse .. 1 dense.
        shift: semitones the melody moves up by.
        gate: the sounding share of the melody's written lengths.
        tension: where in a style's range the tempo is, 0..1.
    """

    velocity: float
    density: float
    shift: int
    gate: float
    tension: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Mood":
        """A mood from anywhere in the plane of valence and arousal."""
        valence, arousal = rng.uniform(-1, 1, size=2)
        return cls(
            velocity=float(np.clip(78 + 22 * arousal + rng.normal(0, 4), 45, 105)),
            density=float(np.clip(0.5 + 0.45 * arousal + rng.normal(0, 0.1), 0, 1)),
            shift=round(4 * valence + 2 * arousal + rng.normal(0, 1)),
            gate=float(np.clip(0.85 - 0.2 * arousal + rng.normal(0, 0.08), 0.45, 1)),
            tension=float(
                np.clip(0.5 + 0.45 * arousal + 0.15 * valence + rng.normal(0, 0.1), 0, 1)
            ),
        )

    def tempo(self, within: tuple[float, float]) -> float:
        """Quarter notes a minute, in a style's range."""
        low, high = within
        return round(float(low * (high / low) ** self.tension), 1)

    def choose(self, choices: Sequence[str], metre: int) -> str:
        """The figure of a metre that is as dense as the mood; they ascend."""
        fitting = [each for each in choices if len(each) == metre * STEPS_PER_BEAT]
        return fitting[min(int(self.density * len(fitting)), len(fitting) - 1)]
