"""A compressor: what is loud is turned down, quickly, and back up, slowly."""

from dataclasses import dataclass

import numpy as np

from ..synthesizer import SAMPLE_RATE_HZ

_BLOCK = 64  # samples; the level is followed in steps of 2.7 ms
_FLOOR = 1e-5


@dataclass(frozen=True)
class Compressor:
    """A compressor.

    Args:
        threshold_db: relative to the root mean square of the whole.
        ratio: a rise of so many dB above the threshold becomes one.
        attack_s: time constant of turning down.
        release_s: that of turning up again.
    """

    threshold_db: float
    ratio: float
    attack_s: float
    release_s: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Compressor":
        """A random one, from hardly audible to pumping."""
        return cls(
            float(rng.uniform(-12, 4)),
            float(np.exp(rng.uniform(np.log(1.5), np.log(8)))),
            float(np.exp(rng.uniform(np.log(0.002), np.log(0.05)))),
            float(np.exp(rng.uniform(np.log(0.05), np.log(0.5)))),
        )

    def compressed(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) in and out."""
        blocks = -(-len(audio) // _BLOCK)
        padded = np.pad(audio, (0, blocks * _BLOCK - len(audio))).reshape(blocks, _BLOCK)
        levels = 20 * np.log10(np.sqrt(np.mean(padded**2, axis=1)) + _FLOOR)
        whole = 20 * np.log10(np.sqrt(np.mean(audio**2)) + _FLOOR)
        over = np.maximum(levels - whole - self.threshold_db, 0)
        gains = -self._followed(over * (1 - 1 / self.ratio))
        middles = (np.arange(blocks) + 0.5) * _BLOCK
        return audio * 10 ** (np.interp(np.arange(len(audio)), middles, gains) / 20)

    def _followed(self, wanted: np.ndarray) -> np.ndarray:
        attack, release = (
            float(np.exp(-_BLOCK / SAMPLE_RATE_HZ / seconds))
            for seconds in (self.attack_s, self.release_s)
        )
        reduction, followed = 0.0, []
        for each in wanted.tolist():
            pole = attack if each > reduction else release
            reduction = each + pole * (reduction - each)
            followed.append(reduction)
        return np.array(followed)
