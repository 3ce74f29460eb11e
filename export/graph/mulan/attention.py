"""Multi-head attention between its projections, for both kinds of transformer."""

import numpy as np

from ..writer import Graph

# Added to the scores of padding: far enough below any other score that its softmax is 0, and finite
# in float16 too, whose largest number is 65504.
_PADDING_SCORE = -1e4


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
