"""Mix: a weighted sum of hidden states."""

from collections.abc import Sequence

import numpy as np

from ...runtime.bundle.mix import MIX
from ..graph.writer import Graph
from ..sources.mix import LevelMix
from ..sources.sources import Sources
from .output import Reference, SourcedOutput


class MixedLevels(SourcedOutput[LevelMix]):
    """(batch, steps, width): the weights are in the record, and nothing is stored twice."""

    name = MIX
    source_name = "mix"

    def found(self, sources: Sources) -> LevelMix | None:
        """The mix."""
        return sources.mix

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The products and their sum."""
        record = self.source(sources).record
        with graph.scope("mix"):
            terms = [
                graph.op("Mul", states[level], graph.constant(weight, np.float32))
                for level, weight in zip(record.levels, record.weights, strict=True)
            ]
            total = terms[0]
            for term in terms[1:]:
                total = graph.op("Add", total, term)
            return total

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, steps, width)."""
        return self.source(reference.sources).expected(reference.states)
