"""The embeddings that both towers end in."""

from torch import nn

from ..folding import linear
from ..graph import Graph
from .operators import l2_normalized


def latents(graph: Graph, module: nn.Linear, x: str) -> str:
    """(batch, width) -> (batch, dim_latent), of length one."""
    return l2_normalized(graph, graph.linear("to_latents", *linear(module), x))
