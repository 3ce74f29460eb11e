"""Shapes of ONNX Runtime's own operators, which ONNX's shape inference does not know."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from .values import Value, attribute

Kind = tuple[int, tuple[int, ...]]  # dtype and shape


def _product_of_bytes(node: onnx.NodeProto, given: Sequence[Value]) -> Kind:
    a, b = given[0].shape, given[1].shape
    return TensorProto.FLOAT, (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _product_with_few_bits(node: onnx.NodeProto, given: Sequence[Value]) -> Kind:
    return given[0].dtype, (*given[0].shape[:-1], attribute(node, "N", 0))


def _sum_of_bytes(node: onnx.NodeProto, given: Sequence[Value]) -> Kind:
    return given[0].dtype, np.broadcast_shapes(given[0].shape, given[3].shape)


def _convolution_of_bytes(node: onnx.NodeProto, given: Sequence[Value]) -> Kind:
    """Channels last: (batch, height, width, channels)."""
    x, kernel = given[0].shape, given[3].shape
    pads, strides = attribute(node, "pads", [0] * 4), attribute(node, "strides", [1, 1])
    image = (
        (x[1 + axis] + pads[axis] + pads[2 + axis] - kernel[2 + axis]) // strides[axis] + 1
        for axis in range(2)
    )
    return given[0].dtype, (x[0], *image, kernel[0])


SHAPES: dict[str, Callable[[onnx.NodeProto, Sequence[Value]], Kind]] = {
    "MatMulIntegerToFloat": _product_of_bytes,
    "MatMulNBits": _product_with_few_bits,
    "QLinearAdd": _sum_of_bytes,
    "QLinearConv": _convolution_of_bytes,
}
