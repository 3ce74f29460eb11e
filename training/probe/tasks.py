"""What the features are judged by: the nine tasks of the MuQ paper (arXiv 2501.01108), as data."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import AudioError, UsageError
from ...reference.head import Kind
from ..data.manifest import Recording, Split, check_splits

STEP_SECONDS = 0.5  # of a task that is answered step by step
UNKNOWN = -1  # the target of a class that is not among the labels
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SAME_TONICS = {"Db": "C#", "D#": "Eb", "Gb": "F#", "G#": "Ab", "A#": "Bb", "Cb": "B", "B#": "C"}
_SAME_TONICS |= {"Fb": "E", "E#": "F"}
_KEY = re.compile("([A-G][#b]?) (major|minor)")
# Of the training songs, where a manifest has no "valid" split.
_VALIDATION_SHARE = 0.1

Splits = dict[Split, list[Recording]]


@dataclass(frozen=True)
class Task:
    """One question about a recording. A recording takes part when it has all the fields.

    Attributes:
        name: what the command line calls it.
        kind: one of several labels; any of them; or numbers, which the labels then name.
        fields: those of ``Recording`` that hold the answer.
        labels: fixed ones; collected from the training recordings where there are none.
        per_step: an answer for every ``STEP_SECONDS`` instead of one for the recording.
        window_seconds: how much audio an answer is given for.
    """

    name: str
    kind: Kind
    fields: tuple[str, ...]
    labels: tuple[str, ...] = ()
    per_step: bool = False
    window_seconds: float = 10.0

    def takes(self, recording: Recording) -> bool:
        """Whether the recording has an answer."""
        return all(getattr(recording, field) is not None for field in self.fields)

    def labels_of(self, training: Iterable[Recording]) -> list[str]:
        """The labels, in order: the fixed ones, or those of the training recordings, sorted."""
        if self.labels:
            return list(self.labels)
        found = {label for recording in training for label in self.answers(recording)}
        # MIDI keys in their order, names in the alphabet's.
        return sorted(found, key=lambda label: label.zfill(3) if label.isdecimal() else label)

    def answers(self, recording: Recording) -> list[str]:
        """The labels a recording has: one of a class, any number of a multilabel or stepwise task.

        Raises:
            AudioError: a key that is none.
        """
        value = getattr(recording, self.fields[0])
        if self.per_step:
            return [label for _, _, label in value]
        if self.kind == "multilabel":
            return list(value)
        return [_key(recording) if self.fields == ("key",) else str(value)]

    def targets(self, recording: Recording, labels: Sequence[str], rows: int) -> np.ndarray:
        """What a head should answer for each of a recording's rows (windows, or steps).

        Returns:
            int64 (rows,) of a class, ``UNKNOWN`` where it is none of the labels; float32
            (rows, labels) otherwise: 0 or 1, NaN where that is not known, or numbers.
        """
        if self.kind == "regression":
            numbers = [getattr(recording, field) for field in self.fields]
            return np.tile(np.array(numbers, np.float32), (rows, 1))
        index = {label: position for position, label in enumerate(labels)}
        if self.per_step:
            return _stepwise(recording, index, rows)
        found = [index[label] for label in self.answers(recording) if label in index]
        if self.kind == "class":
            return np.full(rows, found[0] if found else UNKNOWN, np.int64)
        present = np.zeros((rows, len(labels)), np.float32)
        present[:, found] = 1
        if self.fields == ("tags",):
            present[:, [index[tag] for tag in recording.tags_unknown or () if tag in index]] = (
                np.nan
            )
        return present


TASKS = {
    task.name: task
    for task in (
        Task("genre", "class", ("genre",)),
        Task(
            "key",
            "class",
            ("key",),
            labels=tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in _TONICS),
        ),
        Task("emotion", "regression", ("valence", "arousal"), labels=("valence", "arousal")),
        Task("singer", "class", ("singer",)),
        Task("technique", "class", ("technique",)),
        Task("tagging", "multilabel", ("tags",)),
        Task("structure", "class", ("sections",), per_step=True, window_seconds=30.0),
        Task("instrument", "class", ("instrument",)),
        Task("pitch", "class", ("pitch",)),
    )
}


def find_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: there is none; the message lists them.
    """
    if name not in TASKS:
        raise UsageError(f"task {name!r}: choose among {', '.join(TASKS)}.")
    return TASKS[name]


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


def _key(recording: Recording) -> str:
    match = _KEY.fullmatch(recording.key or "")
    if match is None:
        raise AudioError(
            f"{recording.audio}: key {recording.key!r}; write it as 'C major' or 'F# minor'."
        )
    return f"{_SAME_TONICS.get(match[1], match[1])} {match[2]}"


def _stepwise(recording: Recording, index: dict[str, int], steps: int) -> np.ndarray:
    """The label of the section in which each step's middle lies."""
    middles = (np.arange(steps) + 0.5) * STEP_SECONDS
    targets = np.full(steps, UNKNOWN, np.int64)
    for start, end, label in recording.sections or ():
        targets[(middles >= start) & (middles < end)] = index.get(label, UNKNOWN)
    return targets
