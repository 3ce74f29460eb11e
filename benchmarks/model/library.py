"""A whole library: songs an hour, decoding included, against the official package's own loop."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from ...export.parity.excerpt import EXAMPLE_FILES, EXAMPLES
from ...kernels.log_mel.contract import MINIMUM_SAMPLES
from ...runtime.audio import read as audio
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.inference.at_once import FILES_AT_ONCE
from ...runtime.load import load
from ..measure.timing import EAGER

if TYPE_CHECKING:
    from ...reference.muq import MuQ

SONG_SECONDS = 180.0  # of the songs that are measured
TYPICAL_SONG_SECONDS = 210.0  # of the songs that are counted in an hour
PIECE_SECONDS = 30.0  # what the model was trained on, and the song to warm up with
WHOLE_SONGS = f"{EAGER}, whole songs"
# As in a collection of music.
_FILE_RATE_HZ, _FILE_CHANNELS = 44_100, 2

Embed = Callable[[Sequence[Path]], Iterator[np.ndarray]]


@dataclass(frozen=True)
class LibraryTime:
    """One contender on the songs.

    Attributes:
        contender: its name.
        songs_seconds: how long each song's embedding came after the one before. Of two songs at
            once the second's follows at once: only their mean says how long a song takes.
        songs_per_hour: how many songs of 3.5 minutes it embeds in an hour.
        speedup: how many times as many as the official loop.
        worst_cosine: the smallest of an embedding with the official loop's. They are not the same,
            because the windows are not.
    """

    contender: str
    songs_seconds: list[float]
    songs_per_hour: float
    speedup: float
    worst_cosine: float


def write_songs(folder: Path, songs: int) -> list[Path]:
    """The packaged clips in a loop, as MP3 files of 44.1 kHz in stereo.

    Returns:
        One more than asked for: the first is short, for warming up.
    """
    paths = []
    for index in range(1 + songs):
        seconds = SONG_SECONDS if index else min(SONG_SECONDS, PIECE_SECONDS)
        clip = audio.load(EXAMPLES / EXAMPLE_FILES[index % len(EXAMPLE_FILES)], _FILE_RATE_HZ)
        # Every song begins elsewhere in its clip.
        mono = np.resize(np.roll(clip, -index * _FILE_RATE_HZ), round(seconds * _FILE_RATE_HZ))
        paths.append(folder / f"song_{index}.mp3")
        soundfile.write(paths[-1], np.stack([mono] * _FILE_CHANNELS, axis=1), _FILE_RATE_HZ)
    return paths


def official_loop(model: "MuQ", level: int, threads: int, piece_seconds: float | None) -> Embed:
    """Embed with librosa, in fp32, by a level's mean over time, as the official README does, which
    gives the model whole songs: so does this where ``piece_seconds`` is None."""
    import librosa
    import torch

    torch.set_num_threads(threads)

    def embed(paths: Sequence[Path]) -> Iterator[np.ndarray]:
        for path in paths:
            waveform, rate_hz = librosa.load(path, sr=audio.SAMPLE_RATE_HZ)
            samples = len(waveform) if piece_seconds is None else round(piece_seconds * rate_hz)
            pieces = torch.from_numpy(waveform)[None].split(samples, dim=1)
            # An MP3 may decode to a little more than was encoded, too little for the STFT.
            pieces = [each for each in pieces if each.shape[1] >= MINIMUM_SAMPLES]
            with torch.no_grad():
                features = [model(each).hidden_states[level][0] for each in pieces]
            yield torch.cat(features).mean(0).numpy()

    return embed


def muqrt_embed(bundle: Bundle, artefact: Artefact, threads: int) -> Embed:
    """Embed as ``muqrt embed`` does with many files: in overlapping windows, stitched, two files at
    once."""
    arguments = bundle.folder, artefact.name, threads
    model = load(*arguments, allow_uncertified=True, runs_at_once=FILES_AT_ONCE)

    def embed(paths: Sequence[Path]) -> Iterator[np.ndarray]:
        for _, found in model.embed_files(paths):
            if isinstance(found, Exception):
                raise found
            yield found

    return embed


def measure_library(
    embeds: dict[str, Embed], paths: Sequence[Path], on_step: Callable[[str], None]
) -> list[LibraryTime]:
    """Embed all songs with every contender in turn.

    Args:
        embeds: by contender, the official loop in pieces as ``EAGER`` first.
        paths: what ``write_songs`` gave.
        on_step: called after each song but the first.
    """
    seconds: dict[str, list[float]] = {}
    found: dict[str, list[np.ndarray]] = {}
    for name, embed in embeds.items():
        list(embed(paths[:1]))
        seconds[name], found[name] = [], []
        begin = time.perf_counter()
        for embedding in embed(paths[1:]):
            now = time.perf_counter()
            seconds[name].append(now - begin)
            found[name].append(embedding)
            begin = now
            on_step(f"library: {name}")
    return [
        LibraryTime(
            name,
            taken,
            songs_per_hour(SONG_SECONDS * len(taken), sum(taken)),
            sum(seconds[EAGER]) / sum(taken),
            min(map(_cosine, found[name], found[EAGER])),
        )
        for name, taken in seconds.items()
    ]


def songs_per_hour(audio_seconds: float, seconds: float) -> float:
    """How many songs of 3.5 minutes an hour is enough for, at this rate."""
    return 3600 / seconds * audio_seconds / TYPICAL_SONG_SECONDS


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
