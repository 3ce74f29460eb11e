"""The music on which artefacts are compared with the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import AudioError
from ...runtime.audio import read as audio

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"


# Those that need no optional decoder.
EXAMPLE_FILES = ("ode_to_joy_band.ogg", "greensleeves_duo.flac", "bach_prelude_c.mp3")


# In samples: 1, 5, 10 and 30 s, and lengths that are multiples of nothing.
EXCERPT_SAMPLES = (24_000, 120_000, 240_000, 720_000, 1_025, 33_333, 123_457)


BIT_16 = 2.0**15


SILENCE = 1e-3  # of full scale: nothing but dither and noise lies below


@dataclass(frozen=True)
class Excerpt:
    """A piece of music to compare on; ``waveform`` is (batch, samples) float32 at 24 kHz."""

    name: str
    waveform: np.ndarray

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.waveform.shape[-1] / audio.SAMPLE_RATE_HZ


def excerpts(files: Sequence[Path] = (), window_samples: int | None = None) -> list[Excerpt]:
    """Cut excerpts of every length in ``EXCERPT_SAMPLES``, cycling through the files.

    One more is as long as the model's window, where none is.

    They are dithered to 16 bits, as mastered music is. Encoders and synthesisers leave bands
    that are emptier than that, over 100 dB below the loudest one, where any two fp32 transforms,
    the reference's included, hold nothing but their own rounding noise: 1e-4 to 4e-4 of the
    features' norm, measured against a float64 transform.

    Args:
        files: music; the clips that come with the package when empty. One that is shorter than
            an excerpt is played in a loop.
        window_samples: the length of the windows that the model is declared for.

    Raises:
        AudioError: a file cannot be decoded, or is silent.
    """
    files = list(files) or [EXAMPLES / name for name in EXAMPLE_FILES]
    lengths = list(EXCERPT_SAMPLES)
    if window_samples is not None and window_samples not in lengths:
        lengths.append(window_samples)
    music = [(path.name, dithered(beginning(path, max(lengths)))) for path in files]
    silent = [name for name, waveform in music if np.abs(waveform).max() < SILENCE]
    if silent:
        raise AudioError(f"parity needs music; these are silent: {', '.join(silent)}.")
    found = []
    for turn, samples in enumerate(lengths):
        name, waveform = music[turn % len(music)]
        found.append(Excerpt(name, np.resize(waveform, (1, samples))))
    # A batch of different music: an engine that mixes up its rows must not pass.
    rows = [np.resize(waveform, EXCERPT_SAMPLES[1]) for _, waveform in music]
    found.append(Excerpt("all, as a batch", np.stack(rows)))
    return found


def beginning(path: Path, samples: int = max(EXCERPT_SAMPLES)) -> np.ndarray:
    """Read as much of a file as the longest excerpt needs."""
    blocks: list[np.ndarray] = []
    for block in audio.stream(path):
        blocks.append(block)
        if sum(map(len, blocks)) >= samples:
            break
    return np.concatenate(blocks)[:samples]


def dithered(waveform: np.ndarray) -> np.ndarray:
    """Round to 16 bits with seeded triangular dither of one bit."""
    noise = np.random.default_rng(0).random((2, *waveform.shape))
    return (np.rint(waveform * BIT_16 + noise[0] - noise[1]) / BIT_16).astype(np.float32)
