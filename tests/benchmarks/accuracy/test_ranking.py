"""Ranks and what is made of them, against sorting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.benchmarks.accuracy.metrics import ranks, retrieval


def rank_by_sorting(scores: list[float], right: list[bool]) -> int:
    """Best first; where scores tie, the wrong ones first."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], right[index]))
    return 1 + next(place for place, index in enumerate(order) if right[index])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 99))
def test_ranks_by_sorting(queries: int, candidates: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (queries, candidates)).astype(np.float32)  # full of ties
    right = random.random((queries, candidates)) < 0.3
    right[np.arange(queries), random.integers(0, candidates, queries)] = True
    expected = [rank_by_sorting(*each) for each in zip(scores.tolist(), right, strict=True)]
    assert ranks(scores, right).tolist() == expected


def test_who_knows_nothing_finds_nothing() -> None:
    right = np.eye(12, dtype=bool)
    assert ranks(np.zeros((12, 12)), right).tolist() == [12] * 12
    assert retrieval(ranks(np.zeros((12, 12)), right)) == {
        "R@1": 0,
        "R@10": 0,
        "median rank": 12,
    }


def test_the_best_of_several_right_ones_counts() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.2]])
    assert ranks(scores, np.array([[True, False, True, True]])).tolist() == [2]


def test_shares_and_median() -> None:
    assert retrieval(np.array([1, 1, 10, 11])) == {"R@1": 0.5, "R@10": 0.75, "median rank": 5.5}


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_has_no_order_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no order"):
        ranks(np.array([[0.0, wrong]]), np.array([[True, False]]))


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no rank"):
        ranks(np.zeros((2, 3)), np.array([[True, False, False], [False, False, False]]))
