"""A tagging head as ONNX operators: hidden states in, probabilities out."""

import numpy as np
from torch import nn

from ...reference.head import SMALLEST_VARIANCE, Head
from .folding import array, linear
from .writer import Graph


def tags(graph: Graph, head: Head, states: list[str]) -> str:
    """Probabilities (batch, tags) of hidden states (batch, steps, width), level by level.

    The deviations and the mixture of the levels are folded into the first matrix. The means are
    not folded into its bias: one may be hundreds of deviations, and the difference of two such
    products would add rounding of its own.
    """
    with graph.scope("head"):
        floor = graph.constant(SMALLEST_VARIANCE, np.float32)
        statistics = [
            each for level in head.config.levels for each in _pooled(graph, states[level], floor)
        ]
        x = graph.op("Concat", *statistics, axis=-1)
        x = graph.op("Sub", x, graph.weight("mean", array(head.mean).reshape(-1)))
        if isinstance(head.hidden, nn.Linear):
            matrix, bias = linear(head.hidden)
            x = graph.op("Relu", graph.linear("hidden", for_levels(head, matrix), bias, x))
            matrix, bias = linear(head.output)
        else:
            matrix, bias = linear(head.output)
            matrix = for_levels(head, matrix)
        return graph.op("Sigmoid", graph.linear("output", matrix, bias, x))


def _pooled(graph: Graph, state: str, floor: str) -> tuple[str, str]:
    """Mean and deviation over time, (batch, width) each."""
    time = graph.constant([1])
    mean = graph.op("ReduceMean", state, time, keepdims=1)
    centred = graph.op("Sub", state, mean)
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), time, keepdims=0)
    return graph.op("Squeeze", mean, time), graph.op("Sqrt", graph.op("Add", variance, floor))


def for_levels(head: Head, matrix: np.ndarray) -> np.ndarray:
    """The first layer's matrix (inputs, out) as one for all levels: (levels * inputs, out)."""
    mixture = array(head.level_weights.softmax(0))[:, None]
    scale = mixture / array(head.deviation)
    return np.concatenate([row[:, None] * matrix for row in scale])
