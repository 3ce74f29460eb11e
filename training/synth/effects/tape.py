"""A tape: it saturates, runs unevenly, hisses and loses treble."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from ..synthesizer import SAMPLE_RATE_HZ
from .level import rms


@dataclass(frozen=True)
class Tape:
    """A tape machine.

    Args:
        drive: level of the root mean square where saturation sets in at 1.
        wow_hz: rate of the slow unevenness of its speed, as flutter_hz.
        wow: relative depth of that unevenness, as flutter.
        flutter_hz: the rate of the fast one.
        flutter: its depth.
        low_pass_hz: the treble above is lost.
        hiss_db: level of the noise relative to the music.
    """

    drive: float
    wow_hz: float
    wow: float
    flutter_hz: float
    flutter: float
    low_pass_hz: float
    hiss_db: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Tape":
        """A random one, from a studio's to a cassette's."""
        return cls(
            float(rng.uniform(0.1, 0.6)),
            float(rng.uniform(0.4, 2)),
            float(rng.uniform(0, 0.002)),
            float(rng.uniform(5, 12)),
            float(rng.uniform(0, 0.0006)),
            float(rng.uniform(5500, 11000)),
            float(rng.uniform(-62, -36)),
        )

    def played(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """(samples,) recorded and played back, as loud as before."""
        level = max(rms(audio), 1e-9)
        saturated = np.tanh(audio / level * self.drive) * (level / self.drive)
        time = np.arange(len(audio)) / SAMPLE_RATE_HZ
        late = np.zeros(len(audio))  # seconds: the integral of the deviation of the speed
        for hz, depth in ((self.wow_hz, self.wow), (self.flutter_hz, self.flutter)):
            late += depth / (2 * np.pi * hz) * np.sin(2 * np.pi * (hz * time + rng.random()))
        uneven = np.interp(time + late, time, saturated)
        hiss = rng.standard_normal(len(audio)) * level * 10 ** (self.hiss_db / 20)
        dull = butter(2, self.low_pass_hz, fs=SAMPLE_RATE_HZ, output="sos")
        return sosfilt(dull, uneven + hiss)
