"""Thresholds, against trying every one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.reference.training.threshold import NO_EVIDENCE_THRESHOLD, best_threshold


def f1_of(present: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    said = probabilities > threshold
    return float(2 * (said & present).sum() / max(1, said.sum() + present.sum()))


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0])), min_size=1)
)
def test_the_threshold_is_the_best_there_is(rows: list[tuple[bool, float]]) -> None:
    present = np.array([row[0] for row in rows])
    probabilities = np.array([row[1] for row in rows], np.float32)
    found = best_threshold(present, probabilities)
    if not present.any():
        assert found == NO_EVIDENCE_THRESHOLD
        return
    candidates = [*np.unique(probabilities) - 1e-3, 2.0]
    best = max(f1_of(present, probabilities, max(0.0, each)) for each in candidates)
    assert f1_of(present, probabilities, found) == pytest.approx(best)
