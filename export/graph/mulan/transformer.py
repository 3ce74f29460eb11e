"""The transformer on top of each encoder as ONNX operators."""

from typing import cast

import numpy as np
from torch import nn

from ....reference.mulan.transformer import (
    ATTENTION_SCALE,
    Attention,
    FeedForward,
    LayerNorm,
    Transformer,
)
from ..folding import array
from ..writer import Graph
from .operators import attention, gelu, heads, l2_normalized

# That of torch.nn.functional.layer_norm, which the reference leaves as it is.
_EPSILON = 1e-5


def transformer(graph: Graph, module: Transformer, x: str, bias: str | None = None) -> str:
    """Write the transformer: (batch, steps, width) to the same shape; ``bias`` is added to
    attention scores."""
    with graph.scope("transformer"):
        for index, layer in enumerate(module.layers):
            attending, feed_forward = layer.children()
            with graph.scope(f"layer_{index}"):
                x = graph.op("Add", x, _attention(graph, cast(Attention, attending), x, bias))
                x = graph.op("Add", x, _feed_forward(graph, cast(FeedForward, feed_forward), x))
    return x


def _attention(graph: Graph, module: Attention, x: str, bias: str | None) -> str:
    with graph.scope("attention"):
        x = _layer_norm(graph, module.norm, x)
        matrix = np.concatenate([array(module.to_q.weight), array(module.to_kv.weight)]).T
        count, head_width = module.heads, module.q_scale.numel()
        merged = heads(graph, graph.linear("to_q_k_v", matrix, None, x), 3 * count, head_width)
        sizes = graph.constant([2 * count, count])
        queries_and_keys, value = graph.ops("Split", [merged, sizes], 2, axis=2)
        unit = l2_normalized(graph, queries_and_keys)
        query, key = graph.ops("Split", [unit], 2, axis=2, num_outputs=2)
        # A score is a sum over channels: the query can have all of each channel's scale.
        scale = array(module.q_scale) * array(module.k_scale) * ATTENTION_SCALE
        query = graph.op("Mul", query, graph.weight("scale", scale))
        mixed = attention(graph, query, key, value, bias)
        return graph.linear("to_out", _matrix(cast(nn.Linear, module.to_out[0])), None, mixed)


def _feed_forward(graph: Graph, module: FeedForward, x: str) -> str:
    norm, before, _, _, after = module
    with graph.scope("feed_forward"):
        x = _layer_norm(graph, cast(LayerNorm, norm), x)
        x = graph.linear("intermediate", _matrix(cast(nn.Linear, before)), None, x)
        values, gate = graph.ops("Split", [x], 2, axis=-1, num_outputs=2)
        x = graph.op("Mul", values, gelu(graph, gate))
        return graph.linear("output", _matrix(cast(nn.Linear, after)), None, x)


def _layer_norm(graph: Graph, module: LayerNorm, x: str) -> str:
    gamma = graph.weight("norm.weight", array(module.learned_gamma))
    return graph.op("LayerNormalization", x, gamma, axis=-1, epsilon=_EPSILON)


def _matrix(module: nn.Linear) -> np.ndarray:
    return array(module.weight).T
