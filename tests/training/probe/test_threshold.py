"""Thresholds, against trying every one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.training.probe.fit import NO_EVIDENCE_THRESHOLD, calibrated_threshold


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0])), min_size=1)
)
def test_a_label_is_said_as_often_as_it_is_true(rows: list[tuple[bool, float]]) -> None:
    present = np.array([row[0] for row in rows])
    probabilities = np.array([row[1] for row in rows], np.float32)
    found = calibrated_threshold(present, probabilities)
    if not present.any() or not probabilities.any():
        assert found == NO_EVIDENCE_THRESHOLD
        return
    candidates = np.unique(probabilities[probabilities > 0]) - 1e-3
    nearest = min(abs((probabilities > each).sum() - present.sum()) for each in candidates)
    assert abs((probabilities > found).sum() - present.sum()) == nearest


def test_a_label_that_is_not_known_is_not_said_always() -> None:
    rng = np.random.default_rng(0)
    present, probabilities = rng.random(400) < 0.4, rng.uniform(0.38, 0.42, 400)
    assert (probabilities > calibrated_threshold(present, probabilities)).mean() == pytest.approx(
        present.mean()
    )
