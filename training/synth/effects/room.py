"""A room: early reflections, and a tail whose treble dies first."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, oaconvolve, sosfilt

from ..synthesizer import SAMPLE_RATE_HZ
from .level import rms

_REFLECTIONS = (5, 14)
_EARLY_SECONDS = (0.004, 0.06)
# Edges of the tail's bands, and how long each rings relative to the room's time.
_EDGES_HZ = (400.0, 3000.0)
_RINGING = (1.2, 1.0, 0.55)
_QUIET = 1e-9


@dataclass(frozen=True)
class Room:
    """A room.

    Args:
        rt60_s: reverberation time: 0.2 a studio, 1 a hall, 4 a cathedral.
        wetness: level of the reverberation relative to the sound itself.
        delay_s: of the tail.
    """

    rt60_s: float
    wetness: float
    delay_s: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Room":
        """A random room."""
        return cls(
            float(np.exp(rng.uniform(np.log(0.15), np.log(3.5)))),
            float(rng.uniform(0.03, 0.6)),
            float(rng.uniform(0.002, 0.04)),
        )

    def response(self, rng: np.random.Generator) -> np.ndarray:
        """An impulse response without the direct sound, (samples,)."""
        time = np.arange(round((self.rt60_s + self.delay_s) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tail = np.zeros(len(time))
        low, high = _EDGES_HZ
        for edges, kind, ringing in zip(
            (low, (low, high), high), ("lowpass", "bandpass", "highpass"), _RINGING, strict=True
        ):
            noise = rng.standard_normal(len(time)) * 10 ** (-3 * time / (self.rt60_s * ringing))
            tail += sosfilt(butter(1, edges, kind, fs=SAMPLE_RATE_HZ, output="sos"), noise)
        tail[time < self.delay_s] = 0
        early = np.zeros(len(time))
        count = int(rng.integers(*_REFLECTIONS))
        places = (rng.uniform(*_EARLY_SECONDS, size=count) * SAMPLE_RATE_HZ).astype(int)
        early[np.minimum(places, len(time) - 1)] = rng.uniform(-1, 1, size=count)
        return tail / max(rms(tail), _QUIET) + early / max(rms(early), _QUIET) * 0.5

    def within(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """(samples,) as heard in the room."""
        wet = oaconvolve(audio, self.response(rng))[: len(audio)]
        return audio + wet * (self.wetness * rms(audio) / max(rms(wet), _QUIET))
