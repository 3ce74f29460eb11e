"""A task's recordings by split, checked: what trains, what chooses, what judges."""

import hashlib
from collections.abc import Sequence

from ...errors import AudioError
from ..data.manifest import Recording, Split, check_splits
from .tasks import Task

# Of the training songs, where a manifest has no "valid" split.
_VALIDATION_SHARE = 0.1

Splits = dict[Split, list[Recording]]


def splits_of(recordings: Sequence[Recording], task: Task) -> Splits:
    """The recordings that take part in a task, by split.

    Where none is in "valid", a tenth of the training songs is, always the same ones.

    Raises:
        AudioError: a split has no recording for this task, or a song is in two.
    """
    taking_part = [recording for recording in recordings if task.takes(recording)]
    check_splits(taking_part)
    splits: Splits = {"train": [], "valid": [], "test": []}
    for recording in taking_part:
        if recording.split is not None:
            splits[recording.split].append(recording)
    if not splits["valid"]:
        _carve(splits)
    for name, found in splits.items():
        if not found:
            fields = " and ".join(task.fields)
            raise AudioError(
                f'task {task.name!r}: no recording with {fields} in split "{name}"; it needs '
                '"train" (two songs at least) and "test" in the manifest\'s "split" fields.'
            )
    return splits


def _carve(splits: Splits) -> None:
    """Move whole songs from training to validation."""
    songs = sorted({each.song for each in splits["train"]}, key=_shuffled)
    if len(songs) < 2:
        return
    chosen = set(songs[: max(1, round(_VALIDATION_SHARE * len(songs)))])
    splits["valid"] = [each for each in splits["train"] if each.song in chosen]
    splits["train"] = [each for each in splits["train"] if each.song not in chosen]


def _shuffled(song: str) -> str:
    return hashlib.sha256(song.encode("utf-8", "surrogateescape")).hexdigest()
