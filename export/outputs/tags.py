"""Tags: the probabilities that a tagger's head computes from hidden states."""

from collections.abc import Sequence

import numpy as np

from ...runtime.bundle.certificate import Thresholds
from ...runtime.bundle.tagging import TAGS
from ..graph.head import tags
from ..graph.writer import Graph
from ..sources.head import TagHead
from ..sources.sources import Sources
from .output import Reference, SourcedOutput


class Tags(SourcedOutput[TagHead]):
    """(batch, tags): probabilities, of which only the largest change counts. They have no
    direction, and a change of one matters as much where all are small."""

    name = TAGS
    source_name = "head"
    hashed = "head_sha256"

    def found(self, sources: Sources) -> TagHead | None:
        """The head, if it is a tagger's."""
        return sources.head if isinstance(sources.head, TagHead) else None

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The head."""
        return tags(graph, self.source(sources).head, list(states))

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, tags)."""
        return self.source(reference.sources).expected(reference.states)

    def figures(self, worst: Thresholds) -> str:
        """The largest change."""
        return f"largest change of a tag {worst.largest_tag_change:.2e}"
