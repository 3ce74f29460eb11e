"""A graph whose chosen matrix products are computed on bytes, by ONNX Runtime's own operators."""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper

from ....reference.front_end import Conv2dSubsampling, Res2dModule
from ....reference.muq import MuQ
from ...graph.folding import fold_batch_norm, linear
from ...graph.writer import RUNTIME_DOMAIN, Graph
from . import weights
from .calibration import Range
from .ranges import FINE_STEPS
from .sites import FRONT_END, LINEAR, LOG_MEL, blocks, in_front_end

# Of a row divided by its largest magnitude: 127 codes on either side of zero, -128 is unused.
_UNIT = Range(-128 / 127, 1.0)
_SMALLEST_PEAK = 1e-12
_TOWERS = ("audio/", "text/")  # the scopes of both


class Int8Graph(Graph):
    """Writes a MuQ's products on bytes where they have a range, front end included.

    The towers of a MuQ-MuLan have every linear layer and every table of vectors on bytes. There the
    range of a row, a token's activations or a step's, is measured while the graph runs: nothing has
    to be calibrated, and a text's embedding does not depend on the texts beside it.

    Args:
        ranges: of the MuQ's activations that are quantized, by scoped name.
    """

    def __init__(self, ranges: Mapping[str, Range] | None = None) -> None:
        super().__init__()
        self.ranges = ranges or {}
        self._model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))

    def front_end(self, model: MuQ, log_mel: str) -> str | None:
        """Write the front end on bytes if it has ranges."""
        has_ranges = any(map(in_front_end, self.ranges))
        return int8_front_end(self, model, log_mel) if has_ranges else None

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        if self.scoped(name).startswith(_TOWERS):
            return self._linear_by_rows(name, matrix, bias, x)
        found = self.ranges.get(self.scoped(name))
        if found is None:
            return super().linear(name, matrix, bias, x)
        if found.channels is not None:
            x = self.op("Mul", x, self.weight(f"{name}.channels", 1 / found.channels))
            matrix = matrix * found.channels[:, None]
        return self.product(name, matrix, bias, self.quantize(x, found), found)

    def lookup(self, name: str, table: np.ndarray, indices: str) -> str:
        """Rows of a table (rows, width)."""
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, _SMALLEST_PEAK)
        codes = np.rint(table / scales).astype(np.int8)
        rows = self.op("Gather", self.raw(f"{name}.weight", codes), indices)
        scale = self.op("Gather", self.weight(f"{name}.scale", scales), indices)
        return self.op("Mul", self.op("Cast", rows, to=TensorProto.FLOAT), scale)

    def product(
        self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str, found: Range
    ) -> str:
        """Write x @ matrix + bias for x as bytes; the result is float32."""
        codes, scales = weights.quantized(matrix.T)
        biases = [] if bias is None else [self.weight(f"{name}.bias", bias)]
        return self.op(
            "MatMulIntegerToFloat",
            x,
            self.raw(f"{name}.weight", np.ascontiguousarray(codes.T)),
            self.constant(found.scale, np.float32),
            self.raw(f"{name}.scale", scales),
            self.constant(found.zero_point, np.uint8),
            "",  # weights are symmetric
            *biases,
            domain=RUNTIME_DOMAIN,
        )

    def quantize(self, x: str, found: Range) -> str:
        """float32 to bytes."""
        return self.op("QuantizeLinear", x, *self._code(found))

    def dequantize(self, x: str, found: Range) -> str:
        """Bytes to float32."""
        return self.op("DequantizeLinear", x, *self._code(found))

    def convolution(
        self,
        name: str,
        kernel: np.ndarray,
        bias: np.ndarray,
        x: str,
        strides: list[int],
        ranges: tuple[Range, Range],
    ) -> str:
        """A 3x3 convolution of channels-last bytes to such; ``ranges`` of its input and output."""
        codes, scales = weights.quantized(kernel)
        before, after = ranges
        biases = np.rint(bias / (scales.astype(np.float64) * before.scale)).astype(np.int32)
        return self.op(
            "QLinearConv",
            x,
            *self._code(before),
            self.raw(f"{name}.weight", codes),
            self.raw(f"{name}.scale", scales),
            self.constant(0, np.int8),
            *self._code(after),
            self.raw(f"{name}.bias", biases),
            domain=RUNTIME_DOMAIN,
            channels_last=1,
            strides=strides,
            pads=[1, 1, 1, 1],
            kernel_shape=[3, 3],
        )

    def add(self, a: str, b: str, ranges: tuple[Range, Range, Range]) -> str:
        """a + b as bytes; ``ranges`` of a, b and the sum. One from zero up is a ReLU as well."""
        first, second, total = (self._code(each) for each in ranges)
        return self.op("QLinearAdd", a, *first, b, *second, *total, domain=RUNTIME_DOMAIN)

    def _linear_by_rows(
        self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str
    ) -> str:
        peak = self.op("ReduceMax", self.op("Abs", x), self.constant([-1]), keepdims=1)
        peak = self.op("Max", peak, self.constant(_SMALLEST_PEAK, np.float32))
        unit = self.quantize(self.op("Div", x, peak), _UNIT)
        product = self.op("Mul", self.product(name, matrix, None, unit, _UNIT), peak)
        return self.biased(name, product, bias)

    def _code(self, found: Range) -> tuple[str, str]:
        return self.constant(found.scale, np.float32), self.constant(found.zero_point, np.uint8)


def int8_front_end(graph: Int8Graph, model: MuQ, log_mel: str) -> str:
    """(batch, mels, frames) -> (batch, steps, width), on bytes, channels last."""
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
