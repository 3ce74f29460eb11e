"""A graph whose towers multiply bytes, each row with its own range."""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from ....reference.muq import MuQ
from .calibration import Range
from .front_end import int8_front_end
from .graph import Int8Graph

# Of a row divided by its largest magnitude: 127 codes on either side of zero, -128 is unused.
_UNIT = Range(-128 / 127, 1.0)
_SMALLEST_PEAK = 1e-12
_TOWERS = ("audio/", "text/")  # the scopes of both


class RowInt8Graph(Int8Graph):
    """Writes every linear layer of the towers on bytes and every table of vectors as bytes.

    The range of a row, a token's activations or a step's, is measured while the graph runs. Nothing
    has to be calibrated, and a text's embedding does not depend on the texts beside it. What is no
    tower's is written as ``Int8Graph`` does.

    Args:
        ranges: of the MuQ's activations, where there is one.
    """

    def __init__(self, ranges: Mapping[str, Range] | None = None) -> None:
        super().__init__(ranges or {})

    def front_end(self, model: MuQ, log_mel: str) -> str | None:
        """Write the front end on bytes if the graph has its ranges."""
        return int8_front_end(self, model, log_mel) if self.has_front_end else None

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        if not self.scoped(name).startswith(_TOWERS):
            return super().linear(name, matrix, bias, x)
        peak = self.op("ReduceMax", self.op("Abs", x), self.constant([-1]), keepdims=1)
        peak = self.op("Max", peak, self.constant(_SMALLEST_PEAK, np.float32))
        unit = self.quantize(self.op("Div", x, peak), _UNIT)
        product = self.op("Mul", self.product(name, matrix, None, unit, _UNIT), peak)
        return self.biased(name, product, bias)

    def lookup(self, name: str, table: np.ndarray, indices: str) -> str:
        """Rows of a table (rows, width)."""
        scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, _SMALLEST_PEAK)
        codes = np.rint(table / scales).astype(np.int8)
        rows = self.op("Gather", self.raw(f"{name}.weight", codes), indices)
        scale = self.op("Gather", self.weight(f"{name}.scale", scales), indices)
        return self.op("Mul", self.op("Cast", rows, to=TensorProto.FLOAT), scale)
