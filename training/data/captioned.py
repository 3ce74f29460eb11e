"""Music with texts that describe it: what MuQ-MuLan is trained on."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import AudioError, UsageError
from .caption_tokens import CaptionTokenizer
from .captions import caption, facts_of
from .corpus import Corpus, read_corpus
from .crops import Batch, Skipped, Track, crop_of, first_usable
from .manifest import Recording, read_recordings

# Random streams of a seed, of which no two may be one.
_ORDER, _ITEM, _FITTING = range(3)
_FITTING_CAPTIONS = 8  # of each track, to fit a tokenizer to

ReadAudio = Callable[[Track, np.random.Generator], np.ndarray]


class Captioned(NamedTuple):
    """A track, and its recording: captions, or labels to make them of."""

    track: Track
    recording: Recording


@dataclass(frozen=True)
class CaptionedCorpus:
    """Songs, each of them one or more captioned tracks.

    Attributes:
        corpus: the tracks that have captions or labels, and those that were skipped.
        train, valid: by song.
        digest: a hash over all that captions are made of: others are another run.
    """

    corpus: Corpus
    train: list[list[Captioned]]
    valid: list[list[Captioned]]
    digest: str

    def fitting_texts(self, seed: int) -> list[str]:
        """The training songs' captions, and some of those made of labels, to fit a tokenizer to."""
        texts: list[str] = []
        for index, each in enumerate(each for song in self.train for each in song):
            random = np.random.default_rng([seed, _FITTING, index])
            made = (caption(each.recording, random) for _ in range(_FITTING_CAPTIONS))
            texts.extend(each.recording.captions or made)
        return texts


def read_captioned(source: Path, least_seconds: float) -> CaptionedCorpus:
    """Read a manifest whose rows have captions, or labels.

    Args:
        source, least_seconds: as for ``read_corpus``.

    Raises:
        AudioError: what ``read_corpus`` refuses, no track has captions or labels, or there is one
            song only.
    """
    corpus = read_corpus(source, least_seconds)
    recordings = {recording.audio: recording for recording in read_recordings(source)}
    train = _songs(corpus.train, recordings, f"{source}: in the music to train on")
    valid = _songs(corpus.valid, recordings, f"{source}: in the music for validation")
    kept = [[each for song in songs for each in song] for songs in (train, valid)]
    rows = [
        each.recording.model_dump_json(exclude={"audio", "song"}) for part in kept for each in part
    ]
    tracks = [[each.track for each in part] for part in kept]
    known = {*tracks[0], *tracks[1]}
    skipped = [
        Skipped(track.path, "neither captions nor labels")
        for track in dict.fromkeys([*corpus.train, *corpus.valid])
        if track not in known
    ]
    return CaptionedCorpus(
        dataclasses.replace(
            corpus, train=tracks[0], valid=tracks[1], skipped=corpus.skipped + skipped
        ),
        train,
        valid,
        hashlib.sha256("\n".join(rows).encode()).hexdigest(),
    )


def _songs(
    tracks: Sequence[Track], recordings: Mapping[Path, Recording], what: str
) -> list[list[Captioned]]:
    """The tracks of each song, without those of which nothing is known."""
    songs: dict[str, list[Captioned]] = {}
    for track in tracks:
        recording = recordings[track.path]
        if recording.captions or facts_of(recording):
            songs.setdefault(recording.song, []).append(Captioned(track, recording))
    if not songs:
        raise AudioError(
            f"{what} no track has captions or labels. Give a manifest whose rows have "
            '"captions", a list of texts, or "genre", "tags" and other labels.'
        )
    if len(songs) == 1:
        raise AudioError(
            f"{what} there is one song only, {next(iter(songs))!r}. A text is learned by telling "
            "songs apart: give two or more."
        )
    return list(songs.values())


class CaptionedCrops(Dataset[Batch]):
    """Item i is the i-th crop and caption of an endless, seeded sequence, as a batch of one.

    Every song comes once before any comes again, and no batch has a song twice: a text that
    describes two of its crops would be learned as wrong for one of them. Two songs may still have
    equal captions. A crop that cannot be used is replaced by one of a song that the batch has not.

    Args:
        songs: as many as a batch has pairs, at least.
        batch_size: pairs in a batch, over all processes.
        seed: of the sequence.
        tokenizer: of the captions.
        read_audio: what the model gets of a track, such as ``Waveforms``.

    Raises:
        UsageError: too few songs.
    """

    def __init__(
        self,
        songs: Sequence[Sequence[Captioned]],
        batch_size: int,
        seed: int,
        tokenizer: CaptionTokenizer,
        read_audio: ReadAudio,
    ) -> None:
        if len(songs) < batch_size:
            raise UsageError(
                f"a batch of {batch_size} pairs of as many songs: there are {len(songs)} songs. "
                "Lower --batch-size."
            )
        self._songs = songs
        self._batch_size = batch_size
        self._seed = seed
        self._tokenizer = tokenizer
        self._read_audio = read_audio

    def __getitem__(self, index: int) -> Batch:
        """The audio or its states, (1, ...) float32, and the caption's ids and mask, both
        (1, CAPTION_TOKENS) int64.

        Raises:
            AudioError: try after try could not be used.
        """
        random = np.random.default_rng([self._seed, _ITEM, index])
        drawn = self._drawn(index, random)
        inputs, skipped = first_usable(
            (each.track, partial(self._read, each, random)) for each in drawn
        )
        return Batch(inputs, skipped)

    def _drawn(self, index: int, random: np.random.Generator) -> Iterator[Captioned]:
        """Tracks without end, each of the next song."""
        for attempt in count():
            song = self._song(index, attempt)
            yield song[int(random.integers(len(song)))]

    def _read(self, chosen: Captioned, random: np.random.Generator) -> tuple[Tensor, ...]:
        audio = self._read_audio(chosen.track, random)
        ids, mask = self._tokenizer.encode(caption(chosen.recording, random))
        return torch.from_numpy(audio)[None], ids[None], mask[None]

    def _song(self, index: int, attempt: int) -> Sequence[Captioned]:
        """Each place in a batch has songs of its own, so that no replacement is another's song."""
        batch, place = divmod(index, self._batch_size)
        batches = len(self._songs) // self._batch_size
        epoch, batch = divmod(batch, batches)
        order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._songs))
        return self._songs[order[(batch + attempt) % batches * self._batch_size + place]]


@dataclass(frozen=True)
class Waveforms:
    """A crop from anywhere in a track: ``samples`` at 24 kHz, float32."""

    samples: int

    def __call__(self, track: Track, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32."""
        return crop_of(track, self.samples, random).waveform
