"""Tags: the probabilities that a tagger's head computes from hidden states."""

from collections.abc import Sequence

import numpy as np

from ...reference.checkpoint import Checkpoint
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import AnyMeasurement, Measurement, Thresholds
from ...runtime.bundle.manifest import Bundle
from ...runtime.bundle.record import TensorSpec
from ...runtime.bundle.tagging import TAGS, Tagging
from ..graph.head import tags
from ..graph.writer import Graph
from ..sources.head import TagHead
from ..sources.same import require_same
from ..sources.sources import Sources
from .output import Output, Reference


class Tags(Output):
    """(batch, tags): probabilities, of which only the largest change counts. They have no
    direction, and a change of one matters as much where all are small."""

    name = TAGS

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec | None:
        """(batch, tags) float32."""
        if sources.head is None:
            return None
        shape: list[int | str] = ["batch", len(sources.head.head.config.labels)]
        return TensorSpec(name=self.name, dtype="float32", shape=shape)

    def check(self, checkpoint: Checkpoint, level: int, sources: Sources) -> None:
        """Raise CheckpointError unless the head reads this checkpoint's levels up to ``level``."""
        if sources.head is not None:
            sources.head.check(checkpoint, level)

    def require(self, bundle: Bundle, sources: Sources) -> None:
        """Raise CheckpointError unless the head is the bundle's."""
        ours, head = bundle.tagging, sources.head
        require_same(
            bundle,
            ("tags", "head"),
            None if ours is None else ours.head_sha256,
            None if head is None else (head.name, head.tagging.head_sha256),
        )

    def record(self, sources: Sources) -> Tagging | None:
        """The tagging."""
        return None if sources.head is None else sources.head.tagging

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The head."""
        return tags(graph, _head(sources).head, list(states))

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, tags)."""
        return _head(reference.sources).expected(reference.states)

    def figures(self, worst: Thresholds) -> str:
        """The largest change."""
        return f"largest change of a tag {worst.largest_tag_change:.2e}"

    def cells(self, measured: AnyMeasurement) -> list[str]:
        """The largest change alone."""
        assert isinstance(measured, Measurement)
        return ["", "", f"{measured.largest_difference:.1e}", ""]


def _head(sources: Sources) -> TagHead:
    assert sources.head is not None  # or there would be no such output
    return sources.head
