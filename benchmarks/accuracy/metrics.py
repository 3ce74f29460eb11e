"""Each task's metrics, by scikit-learn and mir_eval, and how well scores rank candidates."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import mir_eval
import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn import metrics as sklearn_metrics

from ...errors import AudioError
from ...training.data.manifest import Recording
from ...training.probe.tasks import STEP_SECONDS, Task

# The metrics that papers report, by task: the charts' panels.
PAPER_METRICS = {
    "genre": ("accuracy",),
    "key": ("refined accuracy",),
    "emotion": ("R2 valence", "R2 arousal"),
    "singer": ("accuracy",),
    "technique": ("accuracy",),
    "tagging": ("ROC-AUC", "average precision"),
    "shown-tags": ("precision", "recall"),
    "structure": ("accuracy",),
    "instrument": ("accuracy",),
    "pitch": ("accuracy",),
    "zeroshot-tagging": ("ROC-AUC", "average precision"),
    "retrieval": ("text to music, R@1", "text to music, R@10"),
}
# Sections are longer than this; flicker is not.
_SMOOTHING_STEPS = 9
_BOUNDARY_TOLERANCES_SECONDS = (0.5, 3.0)
MEDIAN_RANK = "median rank"
SHOWN = "tags shown for a track"
_DEPTHS = (1, 10)  # of the ranks that count as found


@dataclass(frozen=True, eq=False)
class Answer:
    """A head's answer for one recording.

    Attributes:
        recording: with the truth.
        values: probabilities, or a regression's numbers: (labels,), or (steps, labels) of a
            stepwise task.
    """

    recording: Recording
    values: np.ndarray


def answer(task: Task, recording: Recording, rows: np.ndarray) -> Answer:
    """One answer from a head's (rows, labels): the mean over windows, or steps smoothed."""
    if task.per_step:
        return Answer(recording, uniform_filter1d(rows, _SMOOTHING_STEPS, axis=0, mode="nearest"))
    return Answer(recording, rows.mean(0))


def metrics(task: Task, labels: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    """Every metric of a task, by name; 1 is perfect.

    A true label that training never had is a wrong answer. A tag that no test recording has, or
    all have, is left out of tagging's means.
    """
    with warnings.catch_warnings():
        # About classes that are never predicted and about empty estimates: they count as zero.
        warnings.simplefilter("ignore")
        if task.per_step:
            return _structure(task, labels, answers)
        if task.kind == "regression":
            return _regression(task, labels, answers)
        if task.kind == "multilabel":
            return _multilabel(task, labels, answers)
        return _class(task, labels, answers)


def require_measurable(task: str, found: dict[str, float], recordings: int) -> None:
    """Raise AudioError if a metric is not a number, for want of test recordings."""
    for name, value in found.items():
        if np.isnan(value):
            raise AudioError(
                f"task {task!r}: {name} cannot be told from {recordings} test recordings; give "
                "more, with different labels."
            )


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each query's best right candidate, 1 being the top.

    Ties count against the model: a wrong candidate with the same score ranks before a right one,
    so that scores which are all equal find nothing.

    Args:
        scores: (queries, candidates), the higher the better.
        right: the same shape, bool; each query has at least one right candidate.

    Returns:
        int64 (queries,).

    Raises:
        ValueError: a score that is not finite, or a query without a right candidate.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores that are NaN or infinite have no order.")
    if not right.any(axis=1).all():
        raise ValueError("a query without a right candidate has no rank.")
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    found: np.ndarray = 1 + (~right & (scores >= best)).sum(axis=1)
    return found


def retrieval(ranked: np.ndarray) -> dict[str, float]:
    """R@1 and R@10, the shares of queries whose right candidate is among the first 1 or 10, and the
    median rank.

    Args:
        ranked: the queries' ranks, (queries,).
    """
    found = {f"R@{depth}": float(np.mean(ranked <= depth)) for depth in _DEPTHS}
    return {**found, MEDIAN_RANK: float(np.median(ranked))}


def _class(task: Task, labels: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    truth = [task.answers(each.recording)[0] for each in answers]
    guess = [labels[int(each.values.argmax())] for each in answers]
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        truth, guess, labels=sorted(set(truth)), average="macro", zero_division=0.0
    )
    found = {"accuracy": _mean(np.equal(truth, guess))}
    if task.name == "key":
        pairs = zip(truth, guess, strict=True)
        found["refined accuracy"] = _mean([mir_eval.key.weighted_score(*pair) for pair in pairs])
    return {**found, "precision": float(precision), "recall": float(recall), "F1": float(f1)}


def _regression(task: Task, labels: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    truth = np.concatenate([task.targets(each.recording, labels, 1) for each in answers])
    guess = np.stack([each.values for each in answers])
    r2 = sklearn_metrics.r2_score(truth, guess, multioutput="raw_values")
    each = np.broadcast_to(r2, len(labels))  # of a single recording it is one NaN
    return {f"R2 {label}": float(value) for label, value in zip(labels, each, strict=True)}


def _multilabel(task: Task, labels: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    truth = np.concatenate([task.targets(each.recording, labels, 1) for each in answers])
    return tag_metrics(truth, np.stack([each.values for each in answers]))


def tag_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """ROC-AUC and average precision, means over the tags that some recordings have and some not.

    Args:
        truth: (recordings, tags), 0 or 1; NaN where that is not known.
        scores: the same shape, the higher the likelier; recordings of one score are as likely.

    Raises:
        ValueError: a score that is not finite.
    """
    judged = (truth == 0).any(0) & (truth == 1).any(0)
    known = np.isfinite(truth)
    columns = [
        (truth[known[:, label], label], scores[known[:, label], label])
        for label in np.flatnonzero(judged)
    ]
    return {
        "ROC-AUC": _mean([sklearn_metrics.roc_auc_score(*each) for each in columns]),
        "average precision": _mean(
            [sklearn_metrics.average_precision_score(*each) for each in columns]
        ),
    }


def _structure(task: Task, labels: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    right = np.concatenate([_right_steps(task, labels, each) for each in answers])
    found = {"accuracy": _mean(right)}
    segmented = [_segmented(labels, each) for each in answers]
    for tolerance in _BOUNDARY_TOLERANCES_SECONDS:
        f = [mir_eval.segment.detection(a, b, window=tolerance)[2] for a, _, b, _ in segmented]
        found[f"boundary F at {tolerance:g} s"] = _mean(f)
    found["pairwise F"] = _mean([mir_eval.segment.pairwise(*each)[2] for each in segmented])
    return found


def _right_steps(task: Task, labels: Sequence[str], each: Answer) -> np.ndarray:
    """Whether each step inside a section has its label."""
    unknown = [label for label in task.answers(each.recording) if label not in labels]
    truth = task.targets(each.recording, [*labels, *unknown], len(each.values))
    right: np.ndarray = (truth == each.values.argmax(-1))[truth >= 0]
    return right


def _segmented(
    labels: Sequence[str], each: Answer
) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    """Intervals in seconds and their labels: the true ones, then the guessed, of equal length."""
    sections = each.recording.sections or ()
    truth = np.array([section[:2] for section in sections])
    guess = each.values.argmax(-1)
    changes = np.flatnonzero(np.diff(guess)) + 1
    starts, ends = np.append(0, changes), np.append(changes, len(guess))
    intervals = np.stack([starts, ends], 1) * STEP_SECONDS
    adjust = mir_eval.util.adjust_intervals
    return (
        *adjust(truth, [section[2] for section in sections], t_min=0.0),
        *adjust(intervals, [labels[guess[start]] for start in starts], 0.0, truth.max()),
    )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
