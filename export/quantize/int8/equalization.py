"""Rescale channels to similar sizes, so that one scale fits all; the function stays the same.

A few channels of a trained model are many times as large as the others; a byte for the largest
leaves the others none. Between two linear maps a channel can be scaled down in the first and up in
the second, exactly: SmoothQuant (Xiao et al., arXiv 2211.10438) does so with the affine part of a
LayerNorm, cross-layer equalization (Nagel et al., arXiv 1906.04721) through a ReLU.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from ....reference.conformer import ConformerLayer
from ....reference.muq import MuQ
from ...graph.folding import fold_batch_norm
from .calibration import Observed
from .sites import Product, blocks

# A channel that is hardly ever used is not blown up beyond all others.
_LARGEST_SCALE = 1e3


def with_folded_norms(model: MuQ) -> MuQ:
    """Copy a model with the front end's batch norms folded into its convolutions."""
    model = deepcopy(model)
    for block in blocks(model):
        for name in "123":
            convolution = cast(nn.Conv2d, getattr(block, f"conv{name}"))
            norm = cast(nn.BatchNorm2d, getattr(block, f"bn{name}"))
            kernel, bias = fold_batch_norm(convolution, norm)
            convolution.weight.data = torch.from_numpy(kernel).float()
            convolution.bias = nn.Parameter(torch.from_numpy(bias).float())
            neutral = nn.BatchNorm2d(norm.num_features, norm.eps).eval()
            nn.init.constant_(neutral.weight, (1 + norm.eps) ** 0.5)
            setattr(block, f"bn{name}", neutral)
    return model.eval()


def equalize(model: MuQ, observed: Mapping[str, Observed], level: int) -> None:
    """Scale the channels of ``model``, whose norms are folded, by what was observed on it."""
    first, second = blocks(model)
    _through_relu([first.conv1], [first.conv2], observed["front_end/block_0/conv2"].peaks)
    sums = _summands(observed, "front_end/block_0")
    _through_relu([first.conv2, first.conv3], [second.conv1, second.conv3], sums)
    _through_relu([second.conv1], [second.conv2], observed["front_end/block_1/conv2"].peaks)
    sums = _summands(observed, "front_end/block_1")
    _into_linear([second.conv2, second.conv3], model.model.conv.linear, sums)
    layers = cast(list[ConformerLayer], list(model.model.conformer.layers)[:level])
    for index, layer in enumerate(layers):
        _equalize_layer(layer, f"conformer/layer_{index}", observed)


def _equalize_layer(layer: ConformerLayer, name: str, observed: Mapping[str, Observed]) -> None:
    attention = layer.self_attn
    for ffn, norm in ((layer.ffn1, layer.ffn1_layer_norm), (layer.ffn2, layer.ffn2_layer_norm)):
        ffn_name = "ffn1" if ffn is layer.ffn1 else "ffn2"
        peaks = observed[f"{name}/{ffn_name}/intermediate_dense"].peaks
        _through_norm(norm, [ffn.intermediate_dense], peaks)
    # Rotation mixes the two channels of a pair, so they share a scale; the values' product reads
    # the same norm.
    peaks = observed[f"{name}/self_attn/linear_q_k"].peaks
    peaks = torch.maximum(peaks, observed[f"{name}/self_attn/linear_v"].peaks)
    heads = peaks.view(attention.heads, 2, -1)
    peaks = heads.amax(1, keepdim=True).expand_as(heads).flatten()
    readers = [attention.linear_q, attention.linear_k, attention.linear_v]
    _through_norm(layer.self_attn_layer_norm, readers, peaks, pairs_of_heads=attention.heads)
    peaks = observed[f"{name}/conv_module/pointwise_conv1"].peaks
    _through_norm(layer.conv_module.layer_norm, [layer.conv_module.pointwise_conv1], peaks)
    # Attention mixes steps, never channels.
    peaks = observed[f"{name}/self_attn/linear_out"].peaks
    scales = _scales(peaks, [attention.linear_out])
    _scale_outputs(attention.linear_v, scales)
    _scale_inputs(attention.linear_out, scales)


def _through_norm(
    norm: nn.LayerNorm, readers: Sequence[Product], peaks: Tensor, pairs_of_heads: int = 0
) -> None:
    scales = _scales(peaks, readers, pairs_of_heads)
    norm.weight.data /= scales
    norm.bias.data /= scales
    for reader in readers:
        _scale_inputs(reader, scales)


def _through_relu(
    writers: Sequence[nn.Conv2d], readers: Sequence[nn.Conv2d], peaks: Tensor
) -> None:
    scales = _scales(peaks, readers)
    for writer in writers:
        _scale_outputs(writer, scales)
    for reader in readers:
        _scale_inputs(reader, scales)


def _into_linear(writers: Sequence[nn.Conv2d], reader: nn.Linear, peaks: Tensor) -> None:
    """Move scales into the linear layer, which reads every band of a channel."""
    channels = writers[0].out_channels
    columns = reader.weight.detach().abs().view(reader.out_features, channels, -1).amax((0, 2))
    scales = balanced(peaks, columns)
    for writer in writers:
        _scale_outputs(writer, scales)
    _scale_inputs(reader, scales.repeat_interleave(reader.in_features // channels))


def _scales(peaks: Tensor, readers: Sequence[Product], pairs_of_heads: int = 0) -> Tensor:
    largest = largest_columns(readers)
    if pairs_of_heads:
        heads = largest.view(pairs_of_heads, 2, -1)
        largest = heads.amax(1, keepdim=True).expand_as(heads).flatten()
    return balanced(peaks, largest)


def largest_columns(readers: Sequence[Product]) -> Tensor:
    """The largest weight by which each channel (channels,) is read."""
    columns = [each.weight.detach().abs().movedim(1, -1).flatten(0, -2).amax(0) for each in readers]
    return torch.stack(columns).amax(0)


def balanced(peaks: Tensor, weights: Tensor) -> Tensor:
    """Return divisors of the activation's channels that balance them with the weights."""
    scales = (peaks / weights.clamp(min=1e-12)).sqrt()
    middle = scales.median()
    if not middle > 0:
        return torch.ones_like(scales)
    return (scales / middle).clamp(1 / _LARGEST_SCALE, _LARGEST_SCALE)


def _summands(observed: Mapping[str, Observed], block: str) -> Tensor:
    """Peaks of what a residual block adds up, which is quantized too: a channel that the ReLU
    always silences is not blown up before it."""
    inner, outer = (observed[f"{block}/{each}"].peaks for each in ("inner", "outer"))
    return torch.maximum(inner, outer)


def _scale_outputs(writer: Product, scales: Tensor) -> None:
    writer.weight.data /= scales.view(-1, *[1] * (writer.weight.ndim - 1))
    assert writer.bias is not None
    writer.bias.data /= scales


def _scale_inputs(reader: Product, scales: Tensor) -> None:
    reader.weight.data *= scales.view(1, -1, *[1] * (reader.weight.ndim - 2))
