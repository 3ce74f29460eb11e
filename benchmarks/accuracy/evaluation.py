"""Fit probes to every contender's features for every task, and measure their answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import AudioError
from ...reference.head import STATISTICS, HeadConfig
from ...training.data.crops import Skipped
from ...training.data.manifest import Recording
from ...training.probe.features import Encoder, Featured, examples, features_of
from ...training.probe.fit import fit, predict
from ...training.probe.tasks import TASKS, Splits, Task, find_task, splits_of
from .contenders import Contender
from .metrics import Answer, answer, metrics, require_measurable

SHOWN_TAGS = "shown-tags"  # a task without a probe of its own


@dataclass(frozen=True)
class Result:
    """One contender at one task.

    Attributes:
        tracks: how many were used, by split.
        labels: how many labels there are to choose from.
        metrics: by name, a value for each seed.
    """

    contender: str
    task: str
    tracks: dict[str, int]
    labels: int
    metrics: dict[str, list[float]]


@dataclass(frozen=True)
class TagCount:
    """How often a tag was shown, on tracks of which it is known whether it holds.

    Attributes:
        holds, not_holds: tracks.
        right, wrong: tracks it was shown for.
    """

    contender: str
    tag: str
    holds: int
    not_holds: int
    right: int
    wrong: int


@dataclass(frozen=True)
class Evaluation:
    """All results, the files left out, each answer with its contender, task, seed and truth, and
    how often each tag was shown."""

    results: list[Result]
    skipped: list[Skipped]
    predictions: list[dict[str, Any]]
    tags: list[TagCount] = field(default_factory=list)


def splits_by_task(recordings: Sequence[Recording], names: Sequence[str]) -> dict[str, Splits]:
    """The splits of each task to evaluate: those named, or all that any recording has a label for.

    Raises:
        UsageError: no such task. AudioError: an empty or leaking split, or no labels at all.
    """
    tasks = [find_task(name) for name in names] or [
        task for task in TASKS.values() if any(map(task.takes, recordings))
    ]
    if not tasks:
        fields = ", ".join(field for task in TASKS.values() for field in task.fields)
        raise AudioError(f"no recording has a label; a manifest's lines may have: {fields}.")
    return {task.name: splits_of(recordings, task) for task in tasks}


def evaluate(
    contenders: Sequence[Contender],
    tasks: dict[str, Splits],
    cache: Path,
    seeds: int,
    hidden: int = 0,
    on_step: Callable[[str], None] = lambda doing: None,
) -> Evaluation:
    """Measure every contender at every task.

    Args:
        contenders: opened in turn.
        tasks: what ``splits_by_task`` returns.
        cache: folder of features already computed.
        seeds: how many heads to fit, from seed 0 on.
        hidden: hidden neurons of a head; 0 for a linear one.
        on_step: called with what is being done, once for each contender, task and recording.
    """
    done = Evaluation([], [], [])
    if not tasks:  # nothing has to be started
        return done
    for contender in contenders:
        with contender.open() as encoder:
            for name, splits in tasks.items():
                task, advance = find_task(name), partial(on_step, f"{contender.name}, {name}")
                found = _features(encoder, task, splits, cache, advance, done)
                _judge(contender.name, task, found, seeds, hidden, done)
    return done


def _features(
    encoder: Encoder,
    task: Task,
    splits: Splits,
    cache: Path,
    on_step: Callable[[], None],
    done: Evaluation,
) -> dict[str, list[Featured]]:
    found: dict[str, list[Featured]] = {}
    for split, recordings in splits.items():
        found[split], skipped = features_of(
            encoder, recordings, task, cache, lambda path: on_step()
        )
        done.skipped.extend(each for each in skipped if each not in done.skipped)
    return found


def _judge(
    contender: str,
    task: Task,
    found: dict[str, list[Featured]],
    seeds: int,
    hidden: int,
    done: Evaluation,
) -> None:
    labels = task.labels_of(each.recording for each in found["train"])
    _, levels, inputs = found["train"][0].features.shape
    width = inputs // STATISTICS
    config = HeadConfig(
        task.name, task.kind, labels, list(range(levels)), width, hidden, task.per_step
    )
    train, valid = (examples(found[split], task, labels) for split in ("train", "valid"))
    measured: dict[str, list[float]] = {}
    for seed in range(seeds):
        head = fit(config, train, valid, seed)
        answers = [
            answer(task, each.recording, predict(head, each.features)) for each in found["test"]
        ]
        found_metrics = metrics(task, labels, answers)
        require_measurable(task.name, found_metrics, len(answers))
        for name, value in found_metrics.items():
            measured.setdefault(name, []).append(value)
        about = {"contender": contender, "task": task.name, "seed": seed}
        thresholds = np.array(head.config.thresholds)
        done.predictions.extend(
            {**about, **_prediction(task, labels, each, thresholds)} for each in answers
        )
    tracks = {split: len(each) for split, each in found.items()}
    done.results.append(Result(contender, task.name, tracks, len(labels), measured))


def _prediction(
    task: Task, labels: Sequence[str], each: Answer, thresholds: np.ndarray
) -> dict[str, Any]:
    """A recording's answer beside the truth, in JSON's types."""
    values = each.values
    said: Any
    if task.kind == "regression":
        said = dict(zip(labels, values.tolist(), strict=True))
    elif task.kind == "multilabel":
        said = [label for label, over in zip(labels, values > thresholds, strict=True) if over]
    elif task.per_step:
        said = [labels[index] for index in values.argmax(-1).tolist()]
    else:
        said = labels[int(values.argmax())]
    truth = {field: getattr(each.recording, field) for field in task.fields}
    return {"audio": str(each.recording.audio), "answer": said, **truth}
