"""The outputs that every MuQ has: its hidden states and what is read off them."""

from collections.abc import Sequence

import numpy as np

from ...reference.muq import MuQ
from ...runtime.bundle.record import TensorSpec
from ..graph.writer import Graph
from ..sources.sources import Sources
from .output import Output, Reference


def _float32(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=list(shape))


class Features(Output):
    """(batch, steps, width): the hidden state at the exported level."""

    name = "features"

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec:
        """(batch, steps, width) float32."""
        return _float32(self.name, "batch", "steps", model.config.encoder_dim)

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The last state."""
        return states[-1]

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, steps, width)."""
        return reference.states[level]


class Embedding(Output):
    """(batch, width): the features' mean over time."""

    name = "embedding"

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec:
        """(batch, width) float32."""
        return _float32(self.name, "batch", model.config.encoder_dim)

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """The last state's mean."""
        return graph.op("ReduceMean", states[-1], graph.constant([1]), keepdims=0)

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, width)."""
        mean: np.ndarray = reference.states[level].mean(axis=1)
        return mean


class HiddenStates(Output):
    """(batch, level + 1, steps, width): the hidden states from 0 to the exported level."""

    name = "hidden_states"

    def spec(self, model: MuQ, level: int, sources: Sources) -> TensorSpec:
        """(batch, level + 1, steps, width) float32."""
        return _float32(self.name, "batch", level + 1, "steps", model.config.encoder_dim)

    def write(self, graph: Graph, sources: Sources, log_mel: str, states: Sequence[str]) -> str:
        """All states, stacked."""
        stacked = [graph.op("Unsqueeze", state, graph.constant([1])) for state in states]
        return graph.op("Concat", *stacked, axis=1)

    def expected(self, reference: Reference, level: int) -> np.ndarray:
        """(batch, level + 1, steps, width)."""
        return np.stack(reference.states[: level + 1], axis=1)
