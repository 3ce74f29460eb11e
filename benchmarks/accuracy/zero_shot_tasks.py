"""What needs no training: which words describe a recording, and which recording a text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...errors import AudioError, UsageError
from ...runtime.text.labels import TEMPLATES, Embed, LabelSet
from ...training.data.captions import facts_of
from ...training.data.manifest import Recording, check_splits
from ...training.probe.tasks import TASKS
from .metrics import tag_metrics
from .ranking import ranks, retrieval

TAGGING, RETRIEVAL = "zeroshot-tagging", "retrieval"
ZERO_SHOT = (TAGGING, RETRIEVAL)
_SHOWN = 3  # names in a message


class Measured(NamedTuple):
    """A task's metrics, how many labels or texts it had, and its answers in JSON's types."""

    metrics: dict[str, float]
    texts: int
    answers: list[dict[str, Any]]


@dataclass(frozen=True)
class ZeroShotTagging:
    """Which recordings have a tag, by the cosine of each with the tag's words.

    Attributes:
        recordings: those to be asked about.
        labels: the tags.
    """

    recordings: Sequence[Recording]
    labels: LabelSet
    name: str = field(default=TAGGING, init=False)

    def measure(self, heard: Sequence[Recording], music: np.ndarray, embed: Embed) -> Measured:
        """Compare.

        Args:
            heard: the recordings that could be used.
            music: float32 (recordings, width), their embeddings, of length one.
            embed: gives texts' embeddings, float32 (texts, width), of length one.
        """
        names = self.labels.labels
        scores = music @ self.labels.latents(embed).T
        truth = _having([each.tags or () for each in heard], names)
        answers = [
            {
                "audio": str(each.audio),
                "answer": dict(zip(names, row, strict=True)),
                "tags": each.tags,
            }
            for each, row in zip(heard, scores.tolist(), strict=True)
        ]
        return Measured(tag_metrics(truth, scores), len(names), answers)


@dataclass(frozen=True)
class Retrieval:
    """Which recording a text describes, and which text a recording.

    A text that several recordings share is one query, and any of them answers it.

    Attributes:
        recordings: those to be found, with captions.
    """

    recordings: Sequence[Recording]
    name: str = field(default=RETRIEVAL, init=False)

    def measure(self, heard: Sequence[Recording], music: np.ndarray, embed: Embed) -> Measured:
        """Compare; arguments are ``ZeroShotTagging.measure``'s.

        Raises:
            AudioError: every text belongs to every recording.
        """
        captions = [each.captions or () for each in heard]
        texts = list(dict.fromkeys(text for each in captions for text in each))
        right = _having(captions, texts)
        if right.all():
            raise AudioError(
                f"task {self.name!r}: nothing to confuse among {len(heard)} test recordings and "
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
            {"text": text, "answer": str(heard[best].audio), "rank": rank}
            for text, best, rank in zip(
                texts, scores.argmax(0).tolist(), ranked["text to music"].tolist(), strict=True
            )
        ]
        return Measured(metrics, len(texts), answers)


ZeroShotTask = ZeroShotTagging | Retrieval


def probes_and_zero_shot(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of the tasks need a probe, and which do not.

    Raises:
        UsageError: a name that is neither's; the message lists both.
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
    """The tasks, with the test split's recordings that have tags, or captions. Where a manifest has
    no captions at all, they are lists of each recording's labels, in English and in Chinese.

    Args:
        recordings: the whole manifest.
        names: in ``ZERO_SHOT``.
        labels: the tags to judge; all that any recording of the manifest has when None.
        templates: sentences that tags are put into; those of ``muqrt tag`` when None.

    Raises:
        AudioError: nothing to ask about, or a song in two splits.
        UsageError: a label that no recording has, labels or templates for no task, or what
            ``LabelSet`` refuses.
    """
    if TAGGING not in names and (labels is not None or templates is not None):
        raise UsageError(f"labels and templates are for --task {TAGGING}: name it, too.")
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
        raise UsageError(f"no recording has as a tag: {shown} ({len(unknown)} in all).")
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
    """Bool (recordings, asked): which recording has which name."""
    column = {name: index for index, name in enumerate(asked)}
    found = np.zeros((len(names), len(asked)), bool)
    for row, each in enumerate(names):
        found[row, [column[name] for name in each if name in column]] = True
    return found
