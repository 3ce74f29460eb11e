"""A graph whose chosen matrix products are computed on bytes, by ONNX Runtime's own operators."""

from collections.abc import Mapping

import numpy as np
from onnx import helper

from ...graph.writer import RUNTIME_DOMAIN, Graph
from . import weights
from .calibration import Range
from .sites import in_front_end


class Int8Graph(Graph):
    """Writes the linear layers whose scoped names have a range on bytes, the others in float32.

    Args:
        ranges: of the activations that are quantized.
    """

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        super().__init__()
        self.ranges = ranges
        self._model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))

    @property
    def has_front_end(self) -> bool:
        """Whether the front end's are among them."""
        return any(map(in_front_end, self.ranges))

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        found = self.ranges.get(self.scoped(name))
        if found is None:
            return super().linear(name, matrix, bias, x)
        if found.channels is not None:
            x = self.op("Mul", x, self.weight(f"{name}.channels", 1 / found.channels))
            matrix = matrix * found.channels[:, None]
        return self.product(name, matrix, bias, self.quantize(x, found), found)

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

    def _code(self, found: Range) -> tuple[str, str]:
        return self.constant(found.scale, np.float32), self.constant(found.zero_point, np.uint8)
