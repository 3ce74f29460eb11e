"""Both towers of a MuQ-MuLan as ONNX operators: hidden states or tokens to an embedding."""

from collections.abc import Sequence

import onnx
from onnx import TensorProto
from torch import nn

from ....reference.mulan.model import MuLan
from ....runtime.bundle.joint import IDS, LATENTS, MASK
from ....runtime.bundle.parts import STATES
from ....runtime.bundle.record import TensorSpec
from ..folding import linear
from ..writer import Graph
from .operators import latents, padding_bias
from .transformer import transformer
from .xlm_roberta import xlm_roberta


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


def mulan_text_graph(model: MuLan, graph: Graph | None = None) -> onnx.ModelProto:
    """Build the graph: dynamic batch and number of tokens, standard operators only.

    Inputs are ``ids`` and ``mask``, both (batch, tokens) int64, as ``TextTokenizer`` makes them,
    with no more tokens than the encoder has positions for and at least one of each text under the
    mask. The output is ``latents`` (batch, dim_latent) float32, of length one: what
    ``MuLan.text_latents`` gives. Padding does not change a text's.

    Args:
        model: the reference model.
        graph: what writes it, empty as yet; one that writes float32 when left out.
    """
    graph = graph or Graph()
    tower = model.mulan.text
    with graph.scope("text"):
        real = graph.op("Cast", MASK.name, to=TensorProto.BOOL)
        bias = padding_bias(graph, real)
        x = xlm_roberta(graph, tower.model, IDS.name, bias)
        if isinstance(tower.proj, nn.Linear):
            x = graph.linear("proj", *linear(tower.proj), x)
    graph.rename(x, STATES.name)  # because there the graph can be cut in two
    with graph.scope("text"):
        x = transformer(graph, tower.transformer, STATES.name, bias)
        x = _mean(graph, x, real)
        found = latents(graph, model.mulan.text_to_latents, x)
    graph.rename(found, LATENTS)
    width = model.config.mulan.dim_latent
    output = TensorSpec(name=LATENTS, dtype="float32", shape=["batch", width])
    return graph.model([IDS, MASK], [output])


def _mean(graph: Graph, x: str, real: str) -> str:
    """(batch, tokens, width) -> (batch, width), over the tokens that are not padding."""
    real = graph.op("Cast", real, to=TensorProto.FLOAT)
    weights = graph.op("Unsqueeze", real, graph.constant([2]))
    axis = graph.constant([1])
    total = graph.op("ReduceSum", graph.op("Mul", x, weights), axis, keepdims=0)
    return graph.op("Div", total, graph.op("ReduceSum", weights, axis, keepdims=0))
