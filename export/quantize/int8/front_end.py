"""The front end on bytes, channels last."""

import numpy as np

from ....reference.front_end import Conv2dSubsampling, Res2dModule
from ....reference.muq import MuQ
from ...graph.folding import fold_batch_norm, linear
from .calibration import Range
from .graph import Int8Graph
from .ranges import FINE_STEPS
from .sites import FRONT_END, LINEAR, LOG_MEL, blocks


def int8_front_end(graph: Int8Graph, model: MuQ, log_mel: str) -> str:
    """(batch, mels, frames) -> (batch, steps, width)."""
    first, second = blocks(model)
    with graph.scope("front_end"):
        with graph.scope("block_0"):
            x = _first_block(graph, first, log_mel)
        with graph.scope("block_1"):
            x = _second_block(graph, second, x)
        return _linear(graph, model.model.conv, second.conv2.out_channels, x)


def _first_block(graph: Int8Graph, block: Res2dModule, log_mel: str) -> str:
    x, fine = _two_bytes(graph, log_mel)
    inner = _of_log_mel(graph, block, "1", x, fine, "conv2")
    inner = _convolution(graph, block, "2", inner, "block_0", "conv2", "inner")
    outer = _of_log_mel(graph, block, "3", x, fine, "outer")
    return _sum(graph, inner, outer, "block_0", f"{FRONT_END}/block_1/conv1")


def _two_bytes(graph: Int8Graph, log_mel: str) -> tuple[str, Range]:
    """(batch, mels, frames, 4) bytes, coarse ones and what they leave, and the range of the latter.

    Together they have 12 bits: a coarse step is 16 fine ones, and that is how the weights differ.
    Each is there twice, once for no weights at all: ONNX Runtime's fast convolution takes channels
    by four, 2 ms instead of 5 for 10 s of audio.
    """
    found = graph.ranges[LOG_MEL]
    coarse = Range(found.low, found.high)
    fine = Range(found.low / FINE_STEPS, found.high / FINE_STEPS)
    high = graph.quantize(log_mel, coarse)
    rest = graph.op("Sub", log_mel, graph.dequantize(high, coarse))
    last = graph.constant([3])
    high, low = (graph.op("Unsqueeze", x, last) for x in (high, graph.quantize(rest, fine)))
    return graph.op("Concat", high, high, low, low, axis=3), fine


def _of_log_mel(
    graph: Int8Graph, block: Res2dModule, number: str, x: str, fine: Range, after: str
) -> str:
    convolution = getattr(block, f"conv{number}")
    kernel, bias = fold_batch_norm(convolution, getattr(block, f"bn{number}"))
    none = np.zeros_like(kernel)
    kernels = np.concatenate([FINE_STEPS * kernel, none, kernel, none], axis=1)
    ranges = fine, graph.ranges[f"{FRONT_END}/block_0/{after}"]
    return graph.convolution(f"conv{number}", kernels, bias, x, list(convolution.stride), ranges)


def _second_block(graph: Int8Graph, block: Res2dModule, x: str) -> str:
    inner = _convolution(graph, block, "1", x, "block_1", "conv1", "conv2")
    inner = _convolution(graph, block, "2", inner, "block_1", "conv2", "inner")
    outer = _convolution(graph, block, "3", x, "block_1", "conv1", "outer")
    return _sum(graph, inner, outer, "block_1", LINEAR)


def _convolution(
    graph: Int8Graph, block: Res2dModule, number: str, x: str, scope: str, before: str, after: str
) -> str:
    convolution = getattr(block, f"conv{number}")
    kernel, bias = fold_batch_norm(convolution, getattr(block, f"bn{number}"))
    first, second = (graph.ranges[f"{FRONT_END}/{scope}/{each}"] for each in (before, after))
    strides = list(convolution.stride)
    return graph.convolution(f"conv{number}", kernel, bias, x, strides, (first, second))


def _sum(graph: Int8Graph, inner: str, outer: str, scope: str, after: str) -> str:
    first, second = (graph.ranges[f"{FRONT_END}/{scope}/{each}"] for each in ("inner", "outer"))
    return graph.add(inner, outer, (first, second, graph.ranges[after]))


def _linear(graph: Int8Graph, module: Conv2dSubsampling, channels: int, x: str) -> str:
    """(batch, bands, steps, channels) bytes -> (batch, steps, width) float32."""
    x = graph.op("Transpose", x, perm=[0, 2, 1, 3])
    x = graph.op("Reshape", x, graph.constant([0, 0, -1]))
    matrix, bias = linear(module.linear)
    by_band = matrix.reshape(channels, -1, matrix.shape[1]).swapaxes(0, 1).reshape(matrix.shape)
    return graph.product("linear", by_band, bias, x, graph.ranges[LINEAR])
