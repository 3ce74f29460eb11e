"""The text tower of a MuQ-MuLan as an ONNX graph from tokens to an embedding."""

import onnx
from onnx import TensorProto
from torch import nn

from ....reference.mulan.model import MuLan
from ....runtime.bundle.joint import IDS, LATENTS, MASK
from ....runtime.bundle.record import TensorSpec
from ..folding import linear
from ..writer import Graph
from .attention import padding_bias
from .operators import latents
from .transformer import transformer
from .xlm_roberta import xlm_roberta


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
        x = _mean(graph, transformer(graph, tower.transformer, x, bias), real)
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
