"""Music as crops: which crop comes when depends on the seed and nothing else."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import AudioError
from ...reference.config import SAMPLE_RATE_HZ
from .manifest import Recording

SILENCE = 1e-3  # of full scale; a crop whose peak is lower teaches nothing
RATES_HZ = range(8_000, 384_001)  # beyond these a header is wrong, or the music is gone
_TRIES = 32  # crops drawn for one place before the whole corpus is called unusable

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Track:
    """A file that can be opened, and its length."""

    path: Path
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A file left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Batch:
    """What one step is trained on.

    Attributes:
        inputs: the trainee's arguments, each (batch, ...); the first is the waveform, (batch,
            samples) float32 at 24 kHz.
        skipped: what had to be replaced while these were drawn.
    """

    inputs: tuple[Tensor, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Crop:
    """A piece of a track: ``waveform`` is (samples,) float32, ``start`` its first sample."""

    track: Track
    start: int
    waveform: np.ndarray


def usable_tracks(
    recordings: Sequence[Recording], least_seconds: float
) -> tuple[list[Track], list[Skipped]]:
    """Split recordings into those to train on and those that only their header already rules out.

    Corrupt audio behind a good header is found when a crop is drawn.

    Raises:
        AudioError: nothing is left.
    """
    tracks: list[Track] = []
    skipped: list[Skipped] = []
    for recording in recordings:
        try:
            info = soundfile.info(recording.audio)
        except (OSError, soundfile.LibsndfileError) as error:
            skipped.append(Skipped(recording.audio, f"cannot be read ({error})"))
            continue
        if info.samplerate not in RATES_HZ:
            skipped.append(Skipped(recording.audio, f"a sample rate of {info.samplerate} Hz"))
        elif info.duration < least_seconds:
            reason = f"{info.duration:.1f} s, shorter than {least_seconds:g} s"
            skipped.append(Skipped(recording.audio, reason))
        else:
            tracks.append(Track(recording.audio, info.duration))
    if not tracks:
        first = f"{skipped[0].path}: {skipped[0].reason}" if skipped else "there are no files"
        raise AudioError(f"no usable audio among {len(recordings)} recordings; the first: {first}.")
    return tracks, skipped


class Crops(Dataset[Batch]):
    """Item i is the i-th crop of an endless, seeded sequence, as a batch of one.

    Longer tracks are drawn more often, in proportion. A track shorter than a crop is repeated. A
    crop that cannot be decoded, is silent or is not finite is replaced by another draw.

    Args:
        tracks: at least one.
        samples: length of a crop.
        seed: of the sequence.
        grid_samples: crops start at multiples of this.
    """

    def __init__(
        self, tracks: Sequence[Track], samples: int, seed: int, grid_samples: int = 1
    ) -> None:
        self.tracks = list(tracks)
        self.samples = samples
        self.seed = seed
        self.grid_samples = grid_samples
        seconds = np.array([track.seconds for track in self.tracks])
        self._shares = np.cumsum(seconds) / seconds.sum()

    def __getitem__(self, index: int) -> Batch:
        """Crop ``index``."""
        crop, skipped = self.draw(index)
        return Batch((torch.from_numpy(crop.waveform)[None],), skipped)

    def draw(self, index: int) -> tuple[Crop, tuple[Skipped, ...]]:
        """Crop ``index`` and what had to be replaced.

        Raises:
            AudioError: draw after draw could not be used.
        """
        random = np.random.default_rng([self.seed, index])
        return first_usable(
            (track, partial(crop_of, track, self.samples, random, self.grid_samples))
            for track in self._drawn(random)
        )

    def _drawn(self, random: np.random.Generator) -> Iterator[Track]:
        """Tracks without end."""
        while True:
            # Rounding may leave the last share a hair below 1.
            chosen = int(np.searchsorted(self._shares, random.random()))
            yield self.tracks[min(chosen, len(self.tracks) - 1)]


def first_usable(
    tries: Iterable[tuple[Track, Callable[[], _Read]]],
) -> tuple[_Read, tuple[Skipped, ...]]:
    """What reading the first usable track gives, and the tracks that were skipped before it.

    Args:
        tries: tracks, each with what reads it; at most 32 are tried.

    Raises:
        AudioError: none of them could be used.
    """
    skipped: list[Skipped] = []
    for track, read in islice(tries, _TRIES):
        try:
            return read(), (*skipped,)
        except AudioError as error:
            skipped.append(Skipped(track.path, str(error)))
    raise AudioError(f"{_TRIES} crops in a row could not be used; the last: {skipped[-1].reason}")


def crop_of(track: Track, samples: int, random: np.random.Generator, grid_samples: int = 1) -> Crop:
    """A crop from anywhere in a track; one shorter than a crop is repeated.

    Raises:
        AudioError: it cannot be decoded, is silent or not finite there.
    """
    whole = int(track.seconds * SAMPLE_RATE_HZ)
    room = max(0, whole - samples)
    start = int(random.integers(room // grid_samples + 1)) * grid_samples
    waveform = read_crop(track.path, start, min(samples, whole))
    return Crop(track, start, np.resize(waveform, samples))


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one: what a data loader collates with."""
    columns = zip(*(batch.inputs for batch in batches), strict=True)
    return Batch(
        tuple(torch.cat(column) for column in columns),
        tuple(skipped for batch in batches for skipped in batch.skipped),
    )


def batch_of(dataset: Dataset[Batch], index: int, size: int) -> Batch:
    """Batch ``index`` of an endless dataset: its items from ``index * size`` on."""
    return joined([dataset[i] for i in range(index * size, (index + 1) * size)])


class _SequentialFile(soundfile.SoundFile):
    """A file after whose every read soundfile does not seek to the place where it already is,
    which costs the mp3 decoder its bit reservoir."""

    def seekable(self) -> bool:
        return False


def read_crop(path: Path, start: int, samples: int) -> np.ndarray:
    """(samples,) float32, mono, at 24 kHz, from sample ``start`` (at 24 kHz) on.

    Raises:
        AudioError: silent, or what ``read_samples`` refuses.
    """
    waveform = read_samples(path, start, samples)
    if np.abs(waveform).max(initial=0.0) < SILENCE:
        raise AudioError(f"{path}: silent from {start / SAMPLE_RATE_HZ:.1f} s on.")
    return waveform


def read_samples(path: Path, start: int, samples: int) -> np.ndarray:
    """(samples,) float32, mono, at 24 kHz, from sample ``start`` (at 24 kHz) on.

    Raises:
        AudioError: unreadable, ending early or not finite.
    """
    try:
        with _SequentialFile(path) as file:
            rate_hz = file.samplerate
            ratio = rate_hz / SAMPLE_RATE_HZ
            first, count = round(start * ratio), round(samples * ratio)
            if file.format == "MP3":  # has no place to seek to that decodes alone
                audio = file.read(first + count, dtype="float32", always_2d=True)[first:]
            else:
                file.seek(first)
                audio = file.read(count, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"{path}: cannot be decoded ({error}).") from None
    mono = audio.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    if len(mono) < samples - 1:
        raise AudioError(f"{path}: ends before its header says.")
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: samples that are NaN or infinite.")
    # Rounding the rates may cost one sample at the end.
    return np.pad(mono[:samples], (0, max(samples - len(mono), 0)))
