"""Heads as ONNX operators: hidden states in, a tagger's probabilities or scores out."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import nn

from ...reference.head import SMALLEST_VARIANCE, Head, HeadConfig
from ...reference.probe import Probe
from ...reference.song_scorer import MIDDLE, SPAN, SongScorer
from ...runtime.bundle.scoring import Activation
from .conformer import attention
from .folding import array, linear
from .writer import Graph

_OPERATORS: dict[Activation, str] = {"sigmoid": "Sigmoid", "softmax": "Softmax"}


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
        return _probabilities(graph, head.config, matrix, bias, x)


def _probabilities(
    graph: Graph, config: HeadConfig, matrix: np.ndarray, bias: np.ndarray, x: str
) -> str:
    """The last layer and what follows it: ``reference.head.probabilities``.

    A group's logits are followed by a column of zeros, which stands for none of its labels.
    """
    if not config.groups:
        return graph.op("Sigmoid", graph.linear("output", matrix, bias, x))
    runs = _runs(config.places)
    columns = [column for run, is_group in runs for column in [*run, *[-1] * is_group]]
    padded = np.pad(matrix, ((0, 0), (0, 1)))[:, columns], np.pad(bias, (0, 1))[columns]
    logits = graph.linear("output", *padded, x)
    parts, start = [], 0
    for run, is_group in runs:
        end = start + len(run) + is_group
        part = _columns(graph, logits, start, end)
        if is_group:
            part = _columns(graph, graph.op("Softmax", part, axis=-1), 0, len(run))
        else:
            part = graph.op("Sigmoid", part)
        parts.append(part)
        start = end
    return graph.op("Concat", *parts, axis=-1) if len(parts) > 1 else parts[0]


def _runs(places: Sequence[slice]) -> list[tuple[list[int], bool]]:
    """The columns of each group, and of the labels between groups together."""
    found: list[tuple[list[int], bool]] = []
    for place in places:
        columns = list(range(place.start, place.stop))
        if len(columns) == 1 and found and not found[-1][1]:
            found[-1][0].extend(columns)
        else:
            found.append((columns, len(columns) > 1))
    return found


def _columns(graph: Graph, x: str, start: int, end: int) -> str:
    return graph.op("Slice", x, graph.constant([start]), graph.constant([end]), graph.constant([1]))


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


def scores(
    graph: Graph, head: Probe | SongScorer, activation: Activation, states: list[str]
) -> str:
    """Scores (batch, outputs) of hidden states (batch, steps, width), from level 0."""
    chosen = [states[level] for level in head.levels]
    with graph.scope("head"):
        x = _probe(graph, head, chosen) if isinstance(head, Probe) else _song(graph, head, *chosen)
        return graph.op(_OPERATORS[activation], x) if activation != "none" else x


def _probe(graph: Graph, probe: Probe, states: list[str]) -> str:
    """The mixture of the levels is folded into the first matrix, and its bias into that bias."""
    time = graph.constant([1])
    means = [graph.op("ReduceMean", state, time, keepdims=0) for state in states]
    x = graph.op("Concat", *means, axis=-1)
    weights, bias = map(array, probe.mixing())
    first, *others = cast(list[nn.Linear], list(probe.layers))
    matrix, offset = linear(first)
    offset = offset + bias * matrix.sum(axis=0)
    matrix = np.concatenate([weight * matrix for weight in weights])
    x = graph.linear("layer_0", matrix, offset, x)
    for index, layer in enumerate(others, 1):
        x = graph.linear(f"layer_{index}", *linear(layer), graph.op("Relu", x))
    return x


def _song(graph: Graph, head: SongScorer, state: str) -> str:
    before, _, after = head.ffd
    x = graph.op("Relu", graph.linear("ffd.0", *linear(cast(nn.Linear, before)), state))
    below = x = graph.linear("ffd.2", *linear(cast(nn.Linear, after)), x)
    for index, layer in enumerate(cast(list[nn.MultiheadAttention], list(head.attn))):
        with graph.scope(f"attn_{index}"):
            x = _attention(graph, layer, x)
    time = graph.constant([1])
    mean = graph.op("ReduceMean", x, time, keepdims=0)
    highest = graph.op("ReduceMax", below, time, keepdims=0)
    x = graph.linear("fc", *linear(head.fc), graph.op("Concat", mean, highest, axis=-1))
    span, middle = (graph.constant(number, np.float32) for number in (SPAN, MIDDLE))
    return graph.op("Add", graph.op("Mul", graph.op("Tanh", x), span), middle)


def _attention(graph: Graph, layer: nn.MultiheadAttention, x: str) -> str:
    heads, head_width = layer.num_heads, layer.head_dim
    matrix, bias = array(layer.in_proj_weight).T.copy(), array(layer.in_proj_bias).copy()
    # The scores' scale is in the query's weights.
    matrix[:, : layer.embed_dim] /= math.sqrt(head_width)
    bias[: layer.embed_dim] /= math.sqrt(head_width)
    merged = graph.linear("in_proj", matrix, bias, x)
    merged = graph.op("Reshape", merged, graph.constant([0, 0, 3 * heads, head_width]))
    split = graph.ops("Split", [merged], 3, axis=2, num_outputs=3)
    mixed = attention(graph, x, split, heads, head_width, graph.cuts_long_inputs)
    return graph.linear("out_proj", *linear(layer.out_proj), mixed)
