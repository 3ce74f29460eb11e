"""A guitar amplifier: gain into a valve that clips, and a loudspeaker that dulls it."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt

from ..synthesizer import SAMPLE_RATE_HZ
from .equaliser import Band, equalised
from .level import rms

_OVERSAMPLING = 4  # clipping makes overtones that would otherwise fold back
_QUIET = 1e-6


@dataclass(frozen=True)
class Amplifier:
    """An amplifier with its loudspeaker.

    Args:
        gain_db: before the valve: 6 warms, 20 crunches, 40 is metal.
        bias: operating point of the valve, 0 symmetric .. 0.5; makes even overtones.
        tight_hz: the bass below it is cut before the valve.
        speaker_hz: the lowest and highest frequency the loudspeaker passes.
        resonance: of the cabinet.
    """

    gain_db: float
    bias: float
    tight_hz: float
    speaker_hz: tuple[float, float]
    resonance: Band

    @classmethod
    def sample(cls, rng: np.random.Generator, gain_db: tuple[float, float]) -> "Amplifier":
        """A random amplifier with a gain in a range."""
        return cls(
            float(rng.uniform(*gain_db)),
            float(rng.uniform(0, 0.4)),
            float(rng.uniform(70, 160)),
            (float(rng.uniform(70, 110)), float(rng.uniform(3800, 6500))),
            Band(float(rng.uniform(1800, 3200)), float(rng.uniform(2, 8)), 1.2),
        )

    def amplified(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) in and out, as loud as before."""
        level = rms(audio)
        if level < _QUIET:
            return audio
        tight = butter(1, self.tight_hz, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
        driven = sosfilt(tight, audio) / level * 10 ** (self.gain_db / 20) * 0.3
        fine = resample_poly(driven, _OVERSAMPLING, 1)
        clipped = resample_poly(np.tanh(fine + self.bias) - np.tanh(self.bias), 1, _OVERSAMPLING)
        speaker = butter(2, self.speaker_hz, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
        heard = equalised(sosfilt(speaker, clipped[: len(audio)]), [self.resonance])
        return heard * (level / max(rms(heard), _QUIET))
