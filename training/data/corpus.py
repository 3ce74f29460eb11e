"""The music of a training run: what is trained on, what is held out, what is left out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...reference.config import SAMPLE_RATE_HZ
from .crops import Crops, Skipped, Track, usable_tracks
from .manifest import Recording, Split, check_splits, read_recordings


@dataclass(frozen=True)
class Corpus:
    """Tracks to crop.

    Attributes:
        train: what is trained on: the split of that name, or everything where nothing is split.
        valid: what losses are reported on: the split of that name, or what is trained on.
        skipped: files that cannot be used.
        digest: a hash over the tracks' names and lengths: another corpus is another run.
    """

    train: list[Track]
    valid: list[Track]
    skipped: list[Skipped]
    digest: str

    def crops(self, seconds: float, seed: int) -> Crops:
        """The endless sequence of training crops."""
        return Crops(self.train, round(seconds * SAMPLE_RATE_HZ), seed)

    def valid_crops(self, seconds: float) -> Crops:
        """The same crops each time, to measure on."""
        return Crops(self.valid, round(seconds * SAMPLE_RATE_HZ), seed=0)


def read_corpus(source: Path, least_seconds: float) -> Corpus:
    """Read a folder of audio or a manifest for training.

    Args:
        source: as for ``read_recordings``.
        least_seconds: shorter tracks are skipped.

    Raises:
        AudioError: nothing there, nothing usable, or a song in two splits.
    """
    recordings = read_recordings(source)
    check_splits(recordings)
    unsplit = all(recording.split is None for recording in recordings)
    train, skipped = usable_tracks(
        recordings if unsplit else _of(recordings, "train"), least_seconds
    )
    valid = train
    if held_out := _of(recordings, "valid"):
        valid, also_skipped = usable_tracks(held_out, least_seconds)
        skipped += also_skipped
    names = "\n".join(f"{track.path.name} {track.seconds}" for track in train)
    digest = hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    return Corpus(train, valid, skipped, digest)


def _of(recordings: Sequence[Recording], split: Split) -> list[Recording]:
    return [recording for recording in recordings if recording.split == split]
