"""Singers: a vocal tract, a larynx and habits."""

from dataclasses import dataclass

import numpy as np

# F1..F3 of an average man, in Hz; the rest hardly depends on the vowel.
VOWELS = {
    "a": (730.0, 1090.0, 2440.0),
    "e": (530.0, 1840.0, 2480.0),
    "i": (290.0, 2290.0, 3010.0),
    "o": (500.0, 870.0, 2410.0),
    "u": (320.0, 800.0, 2240.0),
}
_UPPER_HZ = (3400.0, 4200.0, 5200.0, 6200.0, 7200.0, 8200.0)
_BANDWIDTHS_HZ = (70.0, 90.0, 120.0, 170.0, 230.0, 300.0, 400.0, 500.0, 600.0)
FORMANTS = len(_BANDWIDTHS_HZ)

# Lowest key, and how much shorter than the average man's the vocal tract is.
_TYPES = ((40, 0.95), (46, 1.03), (53, 1.12), (58, 1.2))  # bass, tenor, alto, soprano
_RANGE_KEYS = 25


@dataclass(frozen=True)
class Singer:
    """A singer.

    Args:
        lowest: MIDI key, as highest.
        highest: the upper end of the range.
        formant_factors: (9,), formants over the average man's.
        bandwidths_hz: (9,), of the formants.
        tilt_hz: above it the source falls by 6 dB an octave more.
        breath: aspiration noise over the source.
        open_quotient: the share of a period the glottis is open.
        jitter: relative deviation of a period.
        vibrato_hz: its rate.
        vibrato_cents: its depth.
    """

    lowest: int
    highest: int
    formant_factors: tuple[float, ...]
    bandwidths_hz: tuple[float, ...]
    tilt_hz: float
    breath: float
    open_quotient: float
    jitter: float
    vibrato_hz: float
    vibrato_cents: float

    def formants(self, vowel: str) -> np.ndarray:
        """Centre frequencies of a vowel, (9,) in Hz."""
        return np.array([*VOWELS[vowel], *_UPPER_HZ]) * self.formant_factors


def random_singer(rng: np.random.Generator) -> Singer:
    """A random singer, from bass to soprano."""
    lowest, factor = _TYPES[int(rng.integers(len(_TYPES)))]
    lowest += int(rng.integers(-2, 3))
    factor *= rng.uniform(0.94, 1.06)
    own = factor * rng.uniform(0.92, 1.08, size=FORMANTS)
    widths = np.array(_BANDWIDTHS_HZ) * rng.uniform(0.7, 1.5, size=FORMANTS)
    return Singer(
        lowest,
        lowest + _RANGE_KEYS,
        tuple(own.tolist()),
        tuple(widths.tolist()),
        tilt_hz=float(np.exp(rng.uniform(np.log(800), np.log(3500)))),
        breath=float(np.exp(rng.uniform(np.log(0.01), np.log(0.05)))),
        open_quotient=float(rng.uniform(0.5, 0.75)),
        jitter=float(rng.uniform(0.001, 0.006)),
        vibrato_hz=float(rng.uniform(4.6, 6.8)),
        vibrato_cents=float(rng.uniform(35, 90)),
    )
