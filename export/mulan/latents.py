"""The embeddings that both towers end in."""

from torch import nn

from ...runtime.record import TensorSpec
from ..folding import linear
from ..graph import Graph
from .operators import l2_normalized

LATENTS = "latents"


def latents(graph: Graph, module: nn.Linear, x: str) -> TensorSpec:
    """(batch, width) -> the output (batch, dim_latent), of length one."""
    found = l2_normalized(graph, graph.linear("to_latents", *linear(module), x))
    graph.rename(found, LATENTS)
    return TensorSpec(name=LATENTS, dtype="float32", shape=["batch", module.out_features])
