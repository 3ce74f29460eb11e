"""What the tests of bundles are made from."""

import pytest

from muqrt.reference.checkpoint import Checkpoint
from muqrt.reference.muq import MuQ


@pytest.fixture
def checkpoint(tiny: MuQ) -> Checkpoint:
    return Checkpoint(tiny, "tiny", "0" * 64)


@pytest.fixture
def external(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights beside the graph, as a full-size model's are."""
    monkeypatch.setattr("muqrt.export.graph.saving._EXTERNAL_DATA_FROM_BYTES", 0)
