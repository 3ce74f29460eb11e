"""What both kinds of transformer compute that ONNX has no operator for in this operator set."""

import math

import numpy as np
from torch import nn

from ..folding import linear
from ..writer import Graph

# As torch.nn.functional.normalize has it: vectors of zeros stay zeros.
_SHORTEST = 1e-12
# Added to the scores of padding: far enough below any other score that its softmax is 0, and finite
# in float16 too, whose largest number is 65504.
_PADDING_SCORE = -1e4


def gelu(graph: Graph, x: str) -> str:
    """x * Phi(x), exact; in the form in which ONNX Runtime recognises it."""
    turned = graph.op("Erf", graph.op("Div", x, graph.constant(math.sqrt(2), np.float32)))
    doubled = graph.op("Mul", x, graph.op("Add", turned, graph.constant(1, np.float32)))
    return graph.op("Mul", doubled, graph.constant(0.5, np.float32))


def l2_normalized(graph: Graph, x: str) -> str:
    """Every vector of (..., width) divided by its length."""
    length = graph.op("ReduceL2", x, graph.constant([-1]), keepdims=1)
    return graph.op("Div", x, graph.op("Max", length, graph.constant(_SHORTEST, np.float32)))


def latents(graph: Graph, module: nn.Linear, x: str) -> str:
    """(batch, width) -> (batch, dim_latent), of length one."""
    return l2_normalized(graph, graph.linear("to_latents", *linear(module), x))


def padding_bias(graph: Graph, real: str) -> str:
    """(batch, tokens) bool, False at padding -> (batch, 1, 1, tokens), to be added to scores."""
    zero, masked = (graph.constant(score, np.float32) for score in (0, _PADDING_SCORE))
    return graph.op("Unsqueeze", graph.op("Where", real, zero, masked), graph.constant([1, 2]))


def heads(graph: Graph, x: str, count: int, head_width: int) -> str:
    """(batch, steps, count * head_width) -> (batch, steps, count, head_width)."""
    return graph.op("Reshape", x, graph.constant([0, 0, count, head_width]))


def attention(graph: Graph, query: str, key: str, value: str, bias: str | None) -> str:
    """Write scaled dot-product attention.

    Args:
        graph: written to.
        query, key, value: (batch, steps, heads, head_width); the scale is in them.
        bias: what ``padding_bias`` made; None where nothing is padding.

    Returns:
        (batch, steps, heads * head_width).
    """
    scores = graph.op(
        "MatMul",
        graph.op("Transpose", query, perm=[0, 2, 1, 3]),
        graph.op("Transpose", key, perm=[0, 2, 3, 1]),
    )
    if bias is not None:
        scores = graph.op("Add", scores, bias)
    weights = graph.op("Softmax", scores, axis=-1)
    mixed = graph.op("MatMul", weights, graph.op("Transpose", value, perm=[0, 2, 1, 3]))
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.op("Reshape", mixed, graph.constant([0, 0, -1]))
