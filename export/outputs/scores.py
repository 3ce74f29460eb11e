"""Scores: the answers of a head that was trained elsewhere."""

from collections.abc import Sequence

import numpy as np

from ...runtime.bundle.scoring import SCORES
from ..graph.head import scores
from ..graph.writer import Graph
from ..sources.score_head import ScoreHead
from ..sources.sources import Sources
from .output import Reference, SourcedOutput


class Scores(SourcedOutput[ScoreHead]):
    """(batch, scores), after the activation that the head declares."""

    name = SCORES
    source_name = "head"
    hashed = "head_sha256"

    def found(self, sources: Sources) -> ScoreHead | None:
        """The head, if it is no tagger's."""
        return sources.head if isinstance(sources.head, ScoreHead) else None

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The head."""
        source = self.source(sources)
        return scores(graph, source.head, source.record.activation, list(states))

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, scores)."""
        return self.source(reference.sources).expected(reference.states)
