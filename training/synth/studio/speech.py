"""A speech synthesiser's syllables, taken apart by the vocoder WORLD."""

import io
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from ....errors import MissingDependencyError
from ..synthesizer import SAMPLE_RATE_HZ

FRAME_MS = 5.0
# One syllable each: what is sung on a note.
SYLLABLES = (
    *("la", "na", "day", "night", "love", "light", "sun", "rain", "road", "heart", "moon"),
    *("home", "go", "free", "you", "me", "oh", "ah", "sky", "blue", "fire", "stone", "low"),
    *("high", "wind", "sea", "soul", "time", "fly", "run", "been", "down"),
)
_LANGUAGES = ("en-us", "en-gb", "it", "de", "es", "fr-fr", "sv", "pt-br")
_WOMEN = ("f1", "f2", "f3", "f4", "f5")
_MEN = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
# Kept for tests: one voice of each kind, and every voice in these languages.
_HELD_OUT_SPEAKERS = {"f5", "m8"}
_HELD_OUT_LANGUAGES = {"sv", "pt-br"}
_WORDS_PER_MINUTE = "130"
_FLOOR = 1e-12
_INSTALL = "Run: pip install 'muqrt[synth]' and, on Debian, apt-get install espeak-ng"


@dataclass(frozen=True)
class Speaker:
    """A voice of espeak-ng: a language and one of its variants of the speaker."""

    language: str
    variant: str

    @property
    def name(self) -> str:
        """As espeak-ng calls it."""
        return f"{self.language}+{self.variant}"

    @property
    def held_out(self) -> bool:
        """Whether it sings in test items only."""
        return self.variant in _HELD_OUT_SPEAKERS or self.language in _HELD_OUT_LANGUAGES


@dataclass(frozen=True)
class Syllable:
    """A spoken syllable in WORLD's terms, a row for every 5 ms at 24 kHz.

    Args:
        envelope: (frames, bins), power.
        noise: (frames, bins), the aperiodic share.
        voiced: (frames,) bool.
    """

    envelope: np.ndarray
    noise: np.ndarray
    voiced: np.ndarray


def speakers(women: bool, held_out: bool) -> list[Speaker]:
    """The speakers for training, or those held out for tests."""
    found = (Speaker(a, b) for a in _LANGUAGES for b in (_WOMEN if women else _MEN))
    return [speaker for speaker in found if speaker.held_out == held_out]


@lru_cache(maxsize=2048)
def syllable(speaker: Speaker, word: str) -> Syllable:
    """A syllable of a speaker.

    Raises:
        MissingDependencyError: espeak-ng or pyworld is not installed.
    """
    try:
        import pyworld
    except ImportError as error:
        raise MissingDependencyError(f"WORLD is needed ({error}). {_INSTALL}") from None
    audio = _spoken(speaker, word)
    pitch, times = pyworld.dio(audio, SAMPLE_RATE_HZ, frame_period=FRAME_MS)
    pitch = pyworld.stonemask(audio, pitch, times, SAMPLE_RATE_HZ)
    envelope = pyworld.cheaptrick(audio, pitch, times, SAMPLE_RATE_HZ)
    noise = pyworld.d4c(audio, pitch, times, SAMPLE_RATE_HZ)
    power = envelope.sum(axis=1)
    (heard,) = np.nonzero(power > 1e-4 * power.max())
    sounding = slice(heard[0], heard[-1] + 1)
    voiced = (pitch > 0)[sounding]
    if not voiced.any():  # too soft for the tracker: all of it is sung
        voiced = np.ones(len(voiced), bool)
    envelope = envelope[sounding] / power[sounding][voiced].mean() + _FLOOR
    return Syllable(envelope.astype(np.float32), noise[sounding].astype(np.float32), voiced)


def _spoken(speaker: Speaker, word: str) -> np.ndarray:
    """The word at 24 kHz, (samples,) float64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word.wav"
        options = ["-v", speaker.name, "-s", _WORDS_PER_MINUTE, "-w", str(path)]
        try:
            subprocess.run(["espeak-ng", *options, word], check=True, capture_output=True)
        except FileNotFoundError:
            raise MissingDependencyError(f"espeak-ng is needed. {_INSTALL}") from None
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode(errors="replace").strip()
            raise MissingDependencyError(
                f"espeak-ng cannot speak as {speaker.name} ({reason}). {_INSTALL}"
            ) from None
        audio, rate = soundfile.read(io.BytesIO(path.read_bytes()))
    common = int(np.gcd(rate, SAMPLE_RATE_HZ))
    return np.ascontiguousarray(resample_poly(audio, SAMPLE_RATE_HZ // common, rate // common))
