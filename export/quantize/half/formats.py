"""The two formats of 16 bits, and float32 rounded to them."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ....runtime.bundle.certificate import Precision


@dataclass(frozen=True)
class Half:
    """A format of 16 bits.

    Attributes:
        name: as numpy and ONNX call it.
        element: its number in ONNX.
        largest: the largest finite number.
        unit_roundoff: how far a number of normal size may be from its rounding, relative to it.
        opset: the oldest operator set whose convolutions take it.
    """

    name: str
    element: int
    largest: float
    unit_roundoff: float
    opset: int

    def encoded(self, name: str, values: np.ndarray) -> TensorProto:
        """float32 values as a tensor of this format, rounded to the nearest, ties to even."""
        if self.element == TensorProto.FLOAT16:
            with np.errstate(over="ignore"):  # becomes an infinity, as on every engine
                bits = values.astype(np.float16).view(np.uint16)
        else:
            wide = np.ascontiguousarray(values, np.float32).view(np.uint32)
            bits = ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)
        return TensorProto(
            name=name, data_type=self.element, dims=values.shape, raw_data=bits.tobytes()
        )

    def decoded(self, tensor: onnx.TensorProto) -> np.ndarray:
        """A tensor of this format as float32 values."""
        bits = np.frombuffer(tensor.raw_data, np.uint16).reshape(tuple(tensor.dims))
        if self.element == TensorProto.FLOAT16:
            return bits.view(np.float16).astype(np.float32)
        return (bits.astype(np.uint32) << 16).view(np.float32)


HALVES: dict[Precision, Half] = {
    "fp16": Half("float16", TensorProto.FLOAT16, 65504.0, 2.0**-11, 18),
    # bfloat16's largest number is all but float32's.
    "bf16": Half("bfloat16", TensorProto.BFLOAT16, 3.3895313892515355e38, 2.0**-8, 22),
}
