"""A graph with QuantizeLinear and DequantizeLinear where an engine is to multiply in 8 bits.

TensorRT's explicit quantization: zero points are 0, scales are constants, activations have one
scale, weights one for each output channel (int8) or one for all (fp8). Weights are stored in 8 bits
with a DequantizeLinear alone. What knows no such products computes the same in other types.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np
import onnx

from ...graph.writer import Graph
from ..half.formats import HALVES
from ..half.typed import typed
from ..int8.calibration import Range
from .formats import Format, scale_of

# The first that has float16 scales, and the numbers of fp8; paired with its release of ONNX.
OPSET, IR_VERSION = 19, 9


class QdqGraph(Graph):
    """Writes the products whose input has a range in 8 bits, the others in float32.

    Args:
        ranges: of the activations that are quantized, symmetric, by the product's scoped name.
        form: the format of 8 bits.
    """

    def __init__(self, ranges: Mapping[str, Range], form: Format) -> None:
        super().__init__()
        self._ranges, self._form = ranges, form
        self._zero = ""

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        found = self._ranges.get(self.scoped(name))
        if found is None:
            return super().linear(name, matrix, bias, x)
        if found.channels is not None:
            divisors = self.weight(f"{name}.channels", 1 / found.channels)
            with self._apart(name):
                x = self.op("Mul", x, divisors)
            matrix = matrix * found.channels[:, None]
        rounded = self._rounded(name, x, found)
        product = self.op("MatMul", rounded, self._stored(name, matrix, axis=1))
        return self.biased(name, product, bias)

    def direct_convolution(
        self, name: str, kernel: np.ndarray, bias: np.ndarray, x: str, strides: list[int]
    ) -> str:
        """A 3x3 convolution of (batch, channels, height, width), padded, and its bias."""
        found = self._ranges.get(self.scoped(name))
        if found is None:
            return super().direct_convolution(name, kernel, bias, x, strides)
        return self.op(
            "Conv",
            self._rounded(name, x, found),
            self._stored(name, kernel, axis=0),
            self.weight(f"{name}.bias", bias),
            strides=strides,
            pads=[1, 1, 1, 1],
        )

    def _rounded(self, name: str, x: str, found: Range) -> str:
        """x as the numbers that 8 bits have."""
        largest = np.array(max(-found.low, found.high))
        scale = self.constant(scale_of(largest, self._form), np.float32)
        zero = self._zero_point()
        with self._apart(name):
            codes = self.op("QuantizeLinear", x, scale, zero)
            return self.op("DequantizeLinear", codes, scale, zero)

    def _apart(self, name: str) -> AbstractContextManager[None]:
        """Enter a scope for nodes that exist only in 8 bits, so that other nodes keep the names
        by which they were measured."""
        return self.scope(name)

    def _stored(self, name: str, weights: np.ndarray, axis: int) -> str:
        scales = self._form.scales(weights, axis)
        shape = [1] * weights.ndim
        if scales.ndim:
            shape[axis] = -1
        stored = self._form.encoded(self._unique(f"{name}.weight"), weights / scales.reshape(shape))
        self.initializers.append(stored)
        # Of a single scale the axis means nothing.
        scale = self.weight(f"{name}.scale", scales)
        return self.op("DequantizeLinear", stored.name, scale, axis=axis)

    def _zero_point(self) -> str:
        """Says which format a QuantizeLinear answers in."""
        if not self._zero:
            self._zero = self._unique("zero")
            self.initializers.append(self._form.encoded(self._zero, np.zeros(())))
        return self._zero


def with_float16(model: onnx.ModelProto, kept: set[str]) -> onnx.ModelProto:
    """Retype to float16 what is not in 8 bits, in place; returns the model.

    Args:
        model: as ``onnx_from_checkpoint`` writes it on a ``QdqGraph``.
        kept: names of nodes that stay float32.
    """
    typed(model, HALVES["fp16"], kept)
    for imported in (model.opset_import, *(each.opset_import for each in model.functions)):
        for opset in imported:
            if opset.domain == "":
                opset.version = OPSET
    model.ir_version = IR_VERSION
    return model
