"""Metrics, against their definitions written out."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.benchmarks.accuracy.evaluation import SHOWN_TAGS
from muqrt.benchmarks.accuracy.metrics import (
    PAPER_METRICS,
    Answer,
    answer,
    metrics,
    require_measurable,
    tag_metrics,
)
from muqrt.benchmarks.accuracy.zero_shot_tasks import ZERO_SHOT
from muqrt.errors import AudioError
from muqrt.training.data.manifest import Recording
from muqrt.training.probe.tasks import TASKS, find_task


def recording(**labels: Any) -> Recording:
    return Recording(audio=Path("a.wav"), **labels)


def one_hot(index: int, labels: int) -> np.ndarray:
    return np.eye(labels)[index] * 0.6 + 0.1


def classes(truth: str, guess: str, labels: str) -> dict[str, float]:
    answers = [
        Answer(recording(genre=t), one_hot(labels.index(g), len(labels)))
        for t, g in zip(truth, guess, strict=True)
    ]
    return metrics(find_task("genre"), labels, answers)


def test_classes_by_hand() -> None:
    found = classes(truth="aaabbc", guess="aabbba", labels="abc")
    assert found["accuracy"] == pytest.approx(4 / 6)
    precision, recall = [2 / 3, 2 / 3, 0], [2 / 3, 1, 0]
    assert found["precision"] == pytest.approx(np.mean(precision))
    assert found["recall"] == pytest.approx(np.mean(recall))
    f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True)]
    assert found["F1"] == pytest.approx(np.mean(f1))


def test_a_class_training_never_had_is_wrong() -> None:
    found = classes(truth="az", guess="aa", labels="ab")
    assert found["accuracy"] == 0.5
    assert found["recall"] == 0.5


@pytest.mark.parametrize(
    ("guess", "points"),
    [("C major", 1), ("G major", 0.5), ("F major", 0), ("A minor", 0.3), ("C minor", 0.2)],
)
def test_a_wrong_key_may_be_half_right(guess: str, points: float) -> None:
    key = find_task("key")
    value = one_hot(key.labels.index(guess), 24)
    found = metrics(key, key.labels, [Answer(recording(key="C major"), value)])
    assert found["refined accuracy"] == pytest.approx(points)
    assert found["accuracy"] == (points == 1)


def test_enharmonic_keys_are_the_same() -> None:
    key = find_task("key")
    value = one_hot(key.labels.index("C# minor"), 24)
    found = metrics(key, key.labels, [Answer(recording(key="Db minor"), value)])
    assert found["accuracy"] == found["refined accuracy"] == 1


def test_r2_by_hand() -> None:
    random = np.random.default_rng(0)
    truth, guess = random.uniform(-1, 1, (2, 9, 2))
    answers = [
        Answer(recording(valence=t[0], arousal=t[1]), g) for t, g in zip(truth, guess, strict=True)
    ]
    found = metrics(find_task("emotion"), ["valence", "arousal"], answers)
    expected = 1 - ((truth - guess) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)
    assert [found["R2 valence"], found["R2 arousal"]] == pytest.approx(expected, abs=1e-6)


def test_tags_by_counting_pairs() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.random((20, 3)) < 0.4, random.random((20, 3))
    truth[:, 2] = True  # cannot be judged
    answers = [
        Answer(recording(tags=[n for n, has in zip("abc", t, strict=True) if has]), s)
        for t, s in zip(truth, scores, strict=True)
    ]
    found = metrics(find_task("tagging"), "abc", answers)
    areas, precisions = [], []
    for label in (0, 1):
        positive, negative = (scores[truth[:, label] == has, label] for has in (True, False))
        areas.append((positive[:, None] > negative).mean())
        ranks = [(scores[:, label] >= score).sum() for score in positive]
        hits = [(positive >= score).sum() for score in positive]
        precisions.append(np.mean(np.divide(hits, ranks)))
    assert found["ROC-AUC"] == pytest.approx(np.mean(areas))
    assert found["average precision"] == pytest.approx(np.mean(precisions))


def tags_by_counting(truth: list[int], scores: list[float]) -> tuple[float, float]:
    """ROC-AUC, with half a point for a tie, and average precision, with ties as one step."""
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, is_p in zip(scores, truth, strict=True)
        for n, is_n in zip(scores, truth, strict=True)
        if is_p and not is_n
    ]
    precision, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        kept = [is_p for score, is_p in zip(scores, truth, strict=True) if score >= threshold]
        precision += (sum(kept) - before) * sum(kept) / len(kept) / sum(truth)
        before = sum(kept)
    return float(np.mean(pairs)), precision


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        ([1, 0, 0, 1, 0], [0.5] * 5),  # all ties
        ([0, 0, 1, 0, 0], [0.1, 0.9, 0.4, 0.4, -1.0]),  # one positive, tied with another
        ([1, 1, 1, 0, 1], [3.0, 2.0, 2.0, 2.0, -5.0]),  # one negative
        ([0, 1], [1.0, 0.0]),
    ],
)
def test_tags_with_ties(truth: list[int], scores: list[float]) -> None:
    found = tag_metrics(np.array(truth)[:, None], np.array(scores)[:, None])
    assert list(found.values()) == pytest.approx(tags_by_counting(truth, scores))


def test_tags_that_all_or_none_have_are_left_out() -> None:
    truth = np.array([[1, 0, 1], [0, 0, 1]])
    assert tag_metrics(truth, np.array([[1, 9, 9], [0, 9, 9]]))["ROC-AUC"] == 1
    with pytest.raises(AudioError, match="ROC-AUC cannot be told from 2 test recordings"):
        require_measurable("tagging", tag_metrics(truth[:, 1:], np.zeros((2, 2))), 2)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        tag_metrics(np.array([[1], [0]]), np.array([[np.nan], [0.5]]))


SECTIONS = ((0.0, 10.0, "a"), (10.0, 20.0, "b"), (20.0, 30.0, "a"))


def structure(guess: str, sections: tuple[tuple[float, float, str], ...]) -> dict[str, float]:
    values = np.stack([one_hot("abc".index(letter), 3) for letter in guess])
    return metrics(find_task("structure"), "abc", [Answer(recording(sections=sections), values)])


def test_a_perfect_structure() -> None:
    found = structure("a" * 20 + "b" * 20 + "a" * 20, SECTIONS)
    assert set(found.values()) == {1.0}


def test_a_boundary_two_seconds_off() -> None:
    guess = "a" * 24 + "b" * 16 + "a" * 20
    found = structure(guess, SECTIONS)
    assert found["accuracy"] == pytest.approx(56 / 60)
    assert found["boundary F at 3 s"] == 1
    assert found["boundary F at 0.5 s"] == pytest.approx(3 / 4)  # 0, 20 and 30 s, not 10 s
    truth = "a" * 20 + "b" * 20 + "a" * 20
    alike = {
        name: {pair for pair in combinations(range(60), 2) if letters[pair[0]] == letters[pair[1]]}
        for name, letters in (("truth", truth), ("guess", guess))
    }
    hits = len(alike["truth"] & alike["guess"])
    expected = 2 * hits / (len(alike["truth"]) + len(alike["guess"]))
    assert found["pairwise F"] == pytest.approx(expected, abs=0.01)


def test_only_steps_inside_sections_count_and_unknown_labels_are_wrong() -> None:
    sections = ((5.0, 10.0, "a"), (10.0, 15.0, "new"))
    assert structure("a" * 60, sections)["accuracy"] == pytest.approx(0.5)


def test_an_answer_is_the_mean_over_windows() -> None:
    rows = np.random.default_rng(0).random((4, 3))
    np.testing.assert_allclose(answer(TASKS["genre"], recording(), rows).values, rows.mean(0))


def test_a_stepwise_answer_does_not_flicker() -> None:
    rows = np.stack([one_hot(0, 2)] * 30 + [one_hot(1, 2)] * 30)
    rows[12] = one_hot(1, 2)
    said = answer(TASKS["structure"], recording(), rows).values.argmax(-1)
    assert said.tolist() == [0] * 30 + [1] * 30


def test_every_task_has_the_papers_metrics() -> None:
    assert set(PAPER_METRICS) == {*TASKS, *ZERO_SHOT, SHOWN_TAGS}


def test_what_is_not_known_of_a_tag_is_left_out() -> None:
    truth = np.array([[1.0], [0.0], [np.nan], [1.0]])
    scores = np.array([[0.9], [0.5], [0.7], [0.2]])
    known = np.isfinite(truth[:, 0])
    assert tag_metrics(truth, scores) == tag_metrics(truth[known], scores[known])
