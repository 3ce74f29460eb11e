"""Small models of every kind, and how close a graph has to come to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from muqrt.reference.mulan.checkpoint import load_mulan
from muqrt.reference.mulan.model import MuLan
from muqrt.reference.mulan.random_model import random_mulan
from muqrt.runtime.bundle.certificate import THRESHOLDS

GOLDEN = Path(__file__).parents[3] / "reference" / "golden"
RELATIVE_L2 = 1e-5  # stricter than the gate

Run = Callable[[onnx.ModelProto], Callable[..., np.ndarray]]


@pytest.fixture(scope="session")
def tiny_mulan() -> MuLan:
    """Random weights and as many positions as the released model. Do not change them."""
    return random_mulan("tiny")


@pytest.fixture(scope="session", params=["mulan_projected", "mulan_plain"])
def golden_mulan(request: pytest.FixtureRequest) -> MuLan:
    """With a linear layer above the text encoder and the MuQ's last level, or with neither."""
    return load_mulan(GOLDEN / request.param).model


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Two batches of embeddings are the same up to float32's rounding."""

    def compare(ours: np.ndarray, reference: np.ndarray, relative_l2: float = RELATIVE_L2) -> None:
        assert (ours.shape, ours.dtype) == (reference.shape, np.float32)
        cosines = (ours * reference).sum(1, dtype=np.float64)
        assert cosines.min() >= THRESHOLDS["fp32"].worst_frame_cosine
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-6)
        distance = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
        assert distance <= relative_l2

    return compare
