"""The weights of a model deployed for PyTorch: the reference's, folded and merged."""

import math
from collections.abc import Iterator
from typing import cast

import numpy as np
from torch import nn

from ...reference.checkpoint import Checkpoint
from ...reference.conformer import ConformerLayer, FeedForward, SelfAttention
from ...reference.front_end import Conv2dSubsampling, Res2dModule
from ...reference.head import Head
from ...runtime.engines.pytorch.design import Design
from ..graph.folding import array, fold_batch_norm, linear
from ..graph.head import for_levels
from ..graph.rvq import folded_tables
from ..sources.head import TagHead
from ..sources.sources import Sources

Named = Iterator[tuple[str, np.ndarray]]  # float64, or the tokens' tables


def deployed_weights(checkpoint: Checkpoint, design: Design, sources: Sources) -> Named:
    """Yield the names and values of ``DeployedMuQ``'s weights."""
    muq = checkpoint.model.model
    yield from _within("front_end", _front_end(muq.conv))
    yield "encoder.inverse_frequencies", array(muq.conformer.embed_positions.inv_freq)
    layers = cast(list[ConformerLayer], muq.conformer.layers[: design.level])
    for index, layer in enumerate(layers):
        yield from _within(f"encoder.layers.{index}", _layer(layer))
    if design.norm_eps is not None:
        yield from _norm("encoder.norm", muq.conformer.layer_norm)
    if isinstance(sources.head, TagHead):
        yield from _within("head", _head(sources.head.head))
    if sources.rvq is not None:
        yield from _within("rvq", iter(vars(folded_tables(sources.rvq)).items()))


def _front_end(module: Conv2dSubsampling) -> Named:
    blocks = cast(list[Res2dModule], module.conv)
    for index, block in enumerate(blocks):
        norms = {"conv1": block.bn1, "conv2": block.bn2, "conv3": block.bn3}
        for name, norm in norms.items():
            kernel, bias = fold_batch_norm(getattr(block, name), norm)
            # There time comes first.
            yield f"blocks.{index}.{name}.weight", kernel.swapaxes(2, 3)
            yield f"blocks.{index}.{name}.bias", bias
    # The reference's columns are (channels * bands), there they are (bands * channels).
    channels, weight = blocks[-1].conv2.out_channels, array(module.linear.weight)
    by_band = weight.reshape(len(weight), channels, -1).swapaxes(1, 2)
    yield "linear.weight", by_band.reshape(len(weight), -1)
    yield "linear.bias", array(module.linear.bias)


def _layer(layer: ConformerLayer) -> Named:
    yield from _within("ffn1", _feed_forward(layer.ffn1_layer_norm, layer.ffn1))
    yield from _norm("attention.norm", layer.self_attn_layer_norm)
    yield from _within("attention", _attention(layer.self_attn))
    convolution = layer.conv_module
    yield from _norm("convolution.norm", convolution.layer_norm)
    kernel, bias = fold_batch_norm(convolution.depthwise_conv, convolution.batch_norm)
    yield "convolution.depthwise_conv.weight", kernel[:, :, None]
    yield "convolution.depthwise_conv.bias", bias
    for name in ("pointwise_conv1", "pointwise_conv2"):
        yield f"convolution.{name}.weight", array(getattr(convolution, name).weight)[..., 0]
    yield from _within("ffn2", _feed_forward(layer.ffn2_layer_norm, layer.ffn2))
    yield from _norm("norm", layer.final_layer_norm)


def _feed_forward(norm: nn.LayerNorm, module: FeedForward) -> Named:
    yield from _norm("norm", norm)
    yield from _linear("intermediate_dense", *linear(module.intermediate_dense))
    # Conformer adds half of each feed-forward.
    yield from _linear("output_dense", *linear(module.output_dense, 0.5))


def _attention(module: SelfAttention) -> Named:
    scale = 1 / math.sqrt(module.linear_q.out_features // module.heads)
    pair = linear(module.linear_q, scale), linear(module.linear_k)
    matrix, bias = (np.concatenate(each, axis=-1) for each in zip(*pair, strict=True))
    yield from _linear("query_and_key", matrix, bias)
    yield from _linear("value", *linear(module.linear_v))
    yield from _linear("output", *linear(module.linear_out))


def _head(head: Head) -> Named:
    yield "mean", array(head.mean).reshape(-1)
    layers = {"output": head.output}
    if isinstance(head.hidden, nn.Linear):
        layers = {"hidden": head.hidden, "output": head.output}
    first = next(iter(layers))
    for name, layer in layers.items():
        matrix, bias = linear(layer)
        yield from _linear(name, for_levels(head, matrix) if name == first else matrix, bias)


def _linear(name: str, matrix: np.ndarray, bias: np.ndarray) -> Named:
    """``matrix`` is (in, out)."""
    yield f"{name}.weight", matrix.T
    yield f"{name}.bias", bias


def _norm(name: str, norm: nn.LayerNorm) -> Named:
    yield f"{name}.weight", array(norm.weight)
    yield f"{name}.bias", array(norm.bias)


def _within(name: str, weights: Named) -> Named:
    for below, weight in weights:
        yield f"{name}.{below}", weight
