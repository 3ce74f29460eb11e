"""Tasks without training: find the words for a recording, or the recording for a text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...errors import AudioError, UsageError
from ...runtime.text.labels import TEMPLATES, Embed, LabelSet
from ...training.data.captions import facts_of
from ...training.data.manifest import Recording, check_splits
from ...training.probe.tasks import TASKS
from .metrics import ranks, retrieval, tag_metrics

TAGGING, RETRIEVAL = "zeroshot-tagging", "retrieval"
ZERO_SHOT = (TAGGING, RETRIEVAL)
_SHOWN = 3  # names in a message


class Measured(NamedTuple):
    """A task's metrics, how many labels or texts it has, and its answers in JSON's types."""

    metrics: dict[str, float]
    texts: int
    answers: list[dict[str, Any]]


@dataclass(frozen=True)
class ZeroShotTask(ABC):
    """What can be asked about embeddings of music and texts in one space.

    Attributes:
        recordings: the recordings it is about.
    """

    recordings: Sequence[Recording]
    name: ClassVar[str]

    @abstractmethod
    def measure(self, used: Sequence[Recording], music: np.ndarray, embed: Embed) -> Measured:
        """Measure how well the embeddings solve the task.

        Args:
            used: the recordings that could be used.
            music: float32 (recordings, width), their embeddings, of length one.
            embed: texts to embeddings, float32 (texts, width), of length one.

        Raises:
            AudioError: the task is trivial.
        """


@dataclass(frozen=True)
class ZeroShotTagging(ZeroShotTask):
    """Decide which recordings have a tag, by the cosine of each with the tag's words.

    Attributes:
        labels: the tags.
    """

    labels: LabelSet
    name = TAGGING

    def measure(self, used: Sequence[Recording], music: np.ndarray, embed: Embed) -> Measured:
        """Measure how well the cosines predict the tags. See ``ZeroShotTask``."""
        names = self.labels.labels
        scores = music @ self.labels.latents(embed).T
        truth = _having([each.tags or () for each in used], names)
        answers = [
            {
                "audio": str(each.audio),
                "answer": dict(zip(names, row, strict=True)),
                "tags": each.tags,
            }
            for each, row in zip(used, scores.tolist(), strict=True)
        ]
        return Measured(tag_metrics(truth, scores), len(names), answers)


@dataclass(frozen=True)
class Retrieval(ZeroShotTask):
    """Find the recording that a text describes, and the text that describes a recording.

    A text that several recordings share is one query, and any of them answers it.
    """

    name = RETRIEVAL

    def measure(self, used: Sequence[Recording], music: np.ndarray, embed: Embed) -> Measured:
        """Measure at which rank the right one is found. See ``ZeroShotTask``."""
        captions = [each.captions or () for each in used]
        texts = list(dict.fromkeys(text for each in captions for text in each))
        right = _having(captions, texts)
        if right.all():
            raise AudioError(
                f"task {self.name!r}: nothing to confuse among {len(used)} test recordings and "
                f"{len(texts)} texts; give more, with different captions."
            )
        scores = music @ embed(texts).T
        ranked = {"text to music": ranks(scores.T, right.T), "music to text": ranks(scores, right)}
        metrics = {
            f"{way}, {name}": value
            for way, found in ranked.items()
            for name, value in retrieval(found).items()
        }
        answers = [
            {"text": text, "answer": str(used[best].audio), "rank": rank}
            for text, best, rank in zip(
                texts, scores.argmax(0).tolist(), ranked["text to music"].tolist(), strict=True
            )
        ]
        return Measured(metrics, len(texts), answers)


def probes_and_zero_shot(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sort tasks' names into those that need a probe and those that do not.

    Raises:
        UsageError: no such task; the message lists all.
    """
    for name in names:
        if name not in TASKS and name not in ZERO_SHOT:
            raise UsageError(f"task {name!r}: choose among {', '.join([*TASKS, *ZERO_SHOT])}.")
    return [name for name in names if name in TASKS], [name for name in names if name in ZERO_SHOT]


def zero_shot_tasks(
    recordings: Sequence[Recording],
    names: Sequence[str],
    labels: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> list[ZeroShotTask]:
    """The tasks, with the test split's recordings that have tags or captions.

    In a manifest without captions, lists of each recording's labels, in English and in Chinese,
    serve as captions.

    Args:
        recordings: the whole manifest.
        names: in ``ZERO_SHOT``.
        labels: the tags to judge; all tags in the manifest when None.
        templates: sentences to put tags into; the default ones of ``muqrt tag`` when None.

    Raises:
        AudioError: no recording with tags or captions, or a song in two splits.
        UsageError: a label that no recording has, labels or templates without the task they are
            for, or labels that ``LabelSet`` refuses.
    """
    if TAGGING not in names and (labels is not None or templates is not None):
        raise UsageError(f"labels and templates are for --task {TAGGING}: name it too.")
    chosen = TEMPLATES if templates is None else templates
    return [_task(name, recordings, labels, chosen) for name in dict.fromkeys(names)]


def _task(
    name: str,
    recordings: Sequence[Recording],
    labels: Sequence[str] | None,
    templates: Sequence[str],
) -> ZeroShotTask:
    if name == RETRIEVAL:
        return Retrieval(_test(name, _captioned(recordings), "captions or labels"))
    tagged = [each for each in recordings if each.tags is not None]
    test = _test(name, tagged, "tags")
    known = sorted({tag for each in tagged for tag in each.tags or ()})
    chosen = known if labels is None else labels
    if unknown := [label for label in chosen if label not in known]:
        shown = ", ".join(map(repr, unknown[:_SHOWN]))
        raise UsageError(f"no recording has these tags: {shown} ({len(unknown)} in all).")
    return ZeroShotTagging(test, LabelSet(tuple(chosen), tuple(templates)))


def _test(name: str, taking_part: list[Recording], fields: str) -> list[Recording]:
    check_splits(taking_part)
    test = [each for each in taking_part if each.split == "test"]
    if not test:
        raise AudioError(f'task {name!r}: no recording with {fields} in split "test".')
    return test


def _captioned(recordings: Sequence[Recording]) -> list[Recording]:
    written = [each for each in recordings if each.captions]
    if written:
        return written
    known = [(each, facts_of(each)) for each in recordings]
    return [
        each.model_copy(
            update={
                "captions": (
                    ", ".join(fact.english for fact in facts),
                    "、".join(fact.chinese for fact in facts),
                )
            }
        )
        for each, facts in known
        if facts
    ]


def _having(names: Sequence[Sequence[str]], asked: Sequence[str]) -> np.ndarray:
    """Bool (recordings, asked): whether each recording has each name."""
    column = {name: index for index, name in enumerate(asked)}
    found = np.zeros((len(names), len(asked)), bool)
    for row, each in enumerate(names):
        found[row, [column[name] for name in each if name in column]] = True
    return found
