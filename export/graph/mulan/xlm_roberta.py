"""XLM-RoBERTa as ONNX operators."""

import math
from typing import cast

import numpy as np
from onnx import TensorProto
from torch import nn

from ....reference.mulan.xlm_roberta import (
    Embeddings,
    Layer,
    ResidualOutput,
    SelfAttention,
    XLMRoberta,
)
from ..conformer import layer_norm
from ..folding import array, linear
from ..writer import Graph
from .operators import attention, gelu, heads


def xlm_roberta(graph: Graph, module: XLMRoberta, ids: str, bias: str) -> str:
    """The last hidden state (batch, tokens, width).

    Args:
        graph: written to.
        module: whose weights.
        ids: (batch, tokens) int64.
        bias: what ``padding_bias`` made.
    """
    with graph.scope("xlm_roberta"):
        x = _embeddings(graph, module.embeddings, ids)
        layers = cast(nn.ModuleList, module.encoder["layer"])
        for index, layer in enumerate(cast(list[Layer], layers)):
            with graph.scope(f"layer_{index}"):
                x = _layer(graph, layer, x, bias)
    return x


def _embeddings(graph: Graph, module: Embeddings, ids: str) -> str:
    with graph.scope("embeddings"):
        # float32 at once: the vocabulary's vectors are most of the model.
        words = module.word_embeddings.weight.detach().cpu().numpy()
        # All types are 0, whose vector is added to every position's.
        types = array(module.token_type_embeddings.weight)
        positions = array(module.position_embeddings.weight) + types[0]
        x = graph.op(
            "Add",
            graph.lookup("words", words, ids),
            graph.lookup("positions", positions, _positions(graph, ids, module.padding)),
        )
        return layer_norm(graph, "layer_norm", module.LayerNorm, x)


def _positions(graph: Graph, ids: str, padding: int) -> str:
    """(batch, tokens) int64: counted from the padding's id on, and padding itself is not."""
    real = graph.op("Not", graph.op("Equal", ids, graph.constant(padding)))
    # As floating-point numbers, the only ones for which TensorRT documents CumSum.
    real = graph.op("Cast", real, to=TensorProto.FLOAT)
    counted = graph.op("Mul", graph.op("CumSum", real, graph.constant(1)), real)
    place = graph.op("Add", counted, graph.constant(padding, np.float32))
    return graph.op("Cast", place, to=TensorProto.INT64)


def _layer(graph: Graph, layer: Layer, x: str, bias: str) -> str:
    with graph.scope("attention"):
        mixed = _attention(graph, cast(SelfAttention, layer.attention["self"]), x, bias)
        x = _residual_output(graph, cast(ResidualOutput, layer.attention["output"]), mixed, x)
    with graph.scope("feed_forward"):
        dense = cast(nn.Linear, layer.intermediate["dense"])
        inner = gelu(graph, graph.linear("intermediate", *linear(dense), x))
        return _residual_output(graph, layer.output, inner, x)


def _attention(graph: Graph, module: SelfAttention, x: str, bias: str) -> str:
    head_width = module.query.out_features // module.heads
    # The scores' scale is in the query's weights.
    parts = (
        linear(module.query, 1 / math.sqrt(head_width)),
        linear(module.key),
        linear(module.value),
    )
    matrix, biases = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    merged = graph.linear("query_key_value", matrix, biases, x)
    merged = heads(graph, merged, 3 * module.heads, head_width)
    query, key, value = graph.ops("Split", [merged], 3, axis=2, num_outputs=3)
    return attention(graph, query, key, value, bias)


def _residual_output(graph: Graph, module: ResidualOutput, x: str, residual: str) -> str:
    x = graph.op("Add", graph.linear("output", *linear(module.dense), x), residual)
    return layer_norm(graph, "layer_norm", module.LayerNorm, x)
