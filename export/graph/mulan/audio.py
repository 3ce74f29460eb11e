"""The audio tower of a MuQ-MuLan as ONNX operators, on top of its MuQ's."""

from collections.abc import Sequence

from ....reference.mulan.model import MuLan
from ..folding import linear
from ..writer import Graph
from .operators import latents
from .transformer import transformer


def audio_tower(graph: Graph, model: MuLan, states: Sequence[str]) -> str:
    """A clip's embedding (batch, dim_latent), of length one: what ``MuLan.audio_latents`` gives.

    Args:
        graph: written to.
        model: whose tower.
        states: the MuQ's hidden states, each (batch, steps, width), from level 0 to the tower's.
    """
    tower = model.mulan.audio
    level = range(tower.model.config.encoder_depth + 1)[tower.level]  # negative: from the last
    with graph.scope("audio"):
        x = graph.linear("proj", *linear(tower.proj), states[level])
        x = transformer(graph, tower.transformer, x)
        x = graph.op("ReduceMean", x, graph.constant([1]), keepdims=0)
        return latents(graph, model.mulan.audio_to_latents, x)
