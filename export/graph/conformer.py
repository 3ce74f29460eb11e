"""The conformer encoder as ONNX operators."""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from onnx import TensorProto
from torch import nn

from ...reference.conformer import (
    ConformerEncoder,
    ConformerLayer,
    ConvolutionModule,
    FeedForward,
    SelfAttention,
)
from .blocks import Blocks, in_blocks, nothing, sliced
from .folding import array, fold_batch_norm, linear
from .writer import Graph

Positions = tuple[str, str]

# Of queries, whose scores with all keys are in memory at once. A minute at 25 steps a second stays
# whole; of 7 minutes, 16 heads, a block's scores are 172 MB. Blocks of half the length are a sixth
# slower there.
_QUERIES = Blocks(whole=1500, longest=256)


def conformer(
    graph: Graph, module: ConformerEncoder, x: str, level: int, query_blocks: bool = False
) -> list[str]:
    """Hidden states 0 to ``level`` of (batch, steps, width); deeper layers are left out.

    The last level of the model is normalised, as in the reference. ``query_blocks`` cuts the
    attention of long inputs in blocks of queries, for engines that hold all scores at once.
    """
    states = [x]
    with graph.scope("conformer"):
        positions = _rotary_positions(graph, array(module.embed_positions.inv_freq), x)
        for index, layer in enumerate(cast(list[ConformerLayer], module.layers[:level])):
            with graph.scope(f"layer_{index}"):
                states.append(_layer(graph, layer, states[-1], positions, query_blocks))
        if level == len(module.layers):
            states[-1] = layer_norm(graph, "layer_norm", module.layer_norm, states[-1])
    return states


def _layer(
    graph: Graph, layer: ConformerLayer, x: str, positions: Positions, query_blocks: bool
) -> str:
    x = graph.op("Add", x, _feed_forward(graph, "ffn1", layer.ffn1_layer_norm, layer.ffn1, x))
    y = layer_norm(graph, "self_attn_layer_norm", layer.self_attn_layer_norm, x)
    x = graph.op("Add", x, _attention(graph, layer.self_attn, y, positions, query_blocks))
    x = graph.op("Add", x, _convolution_module(graph, layer.conv_module, x))
    x = graph.op("Add", x, _feed_forward(graph, "ffn2", layer.ffn2_layer_norm, layer.ffn2, x))
    return layer_norm(graph, "final_layer_norm", layer.final_layer_norm, x)


def _feed_forward(graph: Graph, name: str, norm: nn.LayerNorm, module: FeedForward, x: str) -> str:
    with graph.scope(name):
        x = layer_norm(graph, "layer_norm", norm, x)
        x = graph.linear("intermediate_dense", *linear(module.intermediate_dense), x)
        x = _silu(graph, x)
        # Conformer adds half of each feed-forward.
        return graph.linear("output_dense", *linear(module.output_dense, 0.5), x)


def _attention(
    graph: Graph, module: SelfAttention, x: str, positions: Positions, query_blocks: bool
) -> str:
    with graph.scope("self_attn"):
        head_width = module.linear_q.out_features // module.heads
        # Query and key read the same rotated input: one product. The score's scale is in the
        # query's weights.
        query_and_key = linear(module.linear_q, 1 / math.sqrt(head_width)), linear(module.linear_k)
        matrix, bias = (np.concatenate(pair, axis=-1) for pair in zip(*query_and_key, strict=True))
        rotated = _rotate(graph, x, positions, module.heads, head_width)
        merged = graph.linear("linear_q_k", matrix, bias, rotated)
        merged = graph.op("Reshape", merged, graph.constant([0, 0, 2 * module.heads, head_width]))
        query, key = graph.ops("Split", [merged], 2, axis=2, num_outputs=2)
        value = graph.linear("linear_v", *linear(module.linear_v), x)
        value = graph.op("Reshape", value, graph.constant([0, 0, module.heads, head_width]))
        mixed = attention(graph, x, (query, key, value), module.heads, head_width, query_blocks)
        return graph.linear("linear_out", *linear(module.linear_out), mixed)


def attention(
    graph: Graph, x: str, split: Sequence[str], heads: int, head_width: int, query_blocks: bool
) -> str:
    """Write softmax(query @ key) @ value.

    Args:
        graph: where to write.
        x: what attends to itself, (batch, steps, width).
        split: query, key and value, (batch, steps, heads, head_width) each; the scale is in the
            query.
        heads, head_width: their sizes.
        query_blocks: see ``conformer``.

    Returns:
        (batch, steps, heads * head_width).
    """
    query, key, value = (
        graph.op("Transpose", each, perm=perm)
        for each, perm in zip(split, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )

    def mix(queries: str) -> str:
        weights = graph.op("Softmax", graph.op("MatMul", queries, key), axis=-1)
        return graph.op("MatMul", weights, value)

    if query_blocks:
        steps = graph.op("Shape", x, start=1, end=2)
        empty = nothing(graph, graph.op("Shape", x, end=1), heads, 0, head_width)
        mixed = in_blocks(
            graph,
            _QUERIES,
            steps,
            empty,
            axis=2,
            block=lambda start, stop: mix(sliced(graph, query, start, stop, 2)),
        )
    else:
        mixed = mix(query)
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.op("Reshape", mixed, graph.constant([0, 0, heads * head_width]))


def _convolution_module(graph: Graph, module: ConvolutionModule, x: str) -> str:
    with graph.scope("conv_module"):
        x = layer_norm(graph, "layer_norm", module.layer_norm, x)
        pointwise = array(module.pointwise_conv1.weight)[..., 0].T
        x = graph.linear("pointwise_conv1", pointwise, None, x)
        content, gate = graph.ops("Split", [x], 2, axis=-1, num_outputs=2)
        x = graph.op("Mul", content, graph.op("Sigmoid", gate))
        x = _depthwise(graph, module, x)
        pointwise = array(module.pointwise_conv2.weight)[..., 0].T
        return graph.linear("pointwise_conv2", pointwise, None, x)


def _depthwise(graph: Graph, module: ConvolutionModule, x: str) -> str:
    """Depthwise convolution over time with its batch norm folded, then SiLU."""
    kernel, bias = fold_batch_norm(module.depthwise_conv, module.batch_norm)
    channels, _, taps = kernel.shape
    # As a 2-D convolution of height 1: ONNX Runtime's blocked kernels are 2-D only, and
    # several times as fast here.
    image = graph.op("Unsqueeze", graph.op("Transpose", x, perm=[0, 2, 1]), graph.constant([2]))
    image = graph.op(
        "Conv",
        image,
        graph.weight("depthwise_conv.weight", kernel[:, :, None]),
        graph.weight("depthwise_conv.bias", bias),
        group=channels,
        pads=[0, taps // 2, 0, taps // 2],
    )
    flat = graph.op("Squeeze", _silu(graph, image), graph.constant([2]))
    return graph.op("Transpose", flat, perm=[0, 2, 1])


def _rotary_positions(graph: Graph, inverse_frequencies: np.ndarray, x: str) -> Positions:
    """Cosines and sines (steps, 1, head_width / 2) for as many steps as ``x`` has."""
    with graph.scope("positions"):
        steps = graph.op("Squeeze", graph.op("Shape", x, start=1, end=2), graph.constant([0]))
        time = graph.op("Range", graph.constant(0), steps, graph.constant(1))
        time = graph.op(
            "Unsqueeze", graph.op("Cast", time, to=TensorProto.FLOAT), graph.constant([1, 2])
        )
        frequencies = graph.weight("inv_freq", inverse_frequencies.reshape(1, 1, -1))
        angles = graph.op("Mul", time, frequencies)
        return graph.op("Cos", angles), graph.op("Sin", angles)


def _rotate(graph: Graph, x: str, positions: Positions, heads: int, head_width: int) -> str:
    """Turn each head's pairs (i, i + head_width / 2) by their position's angle."""
    cosines, sines = positions
    split = graph.op("Reshape", x, graph.constant([0, 0, heads, head_width]))
    first, second = graph.ops("Split", [split], 2, axis=-1, num_outputs=2)
    real = graph.op("Sub", graph.op("Mul", first, cosines), graph.op("Mul", second, sines))
    imaginary = graph.op("Add", graph.op("Mul", second, cosines), graph.op("Mul", first, sines))
    turned = graph.op("Concat", real, imaginary, axis=-1)
    return graph.op("Reshape", turned, graph.constant([0, 0, heads * head_width]))


def layer_norm(graph: Graph, name: str, module: nn.LayerNorm, x: str) -> str:
    """Write a layer norm of (..., width)."""
    return graph.op(
        "LayerNormalization",
        x,
        graph.weight(f"{name}.weight", array(module.weight)),
        graph.weight(f"{name}.bias", array(module.bias)),
        axis=-1,
        epsilon=module.eps,
    )


def _silu(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", x))
