"""Cut nodes out of a written graph."""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import helper

from ...runtime.bundle.record import TensorSpec


def selected(
    nodes: Sequence[onnx.NodeProto], given: Iterable[str], wanted: Iterable[str]
) -> list[onnx.NodeProto]:
    """The nodes that compute some values from others, in order.

    Args:
        nodes: of the graph, in order.
        given: values that need not be computed.
        wanted: values to compute.
    """
    known, needed, found = set(given), set(wanted), []
    for node in reversed(nodes):
        if needed & set(node.output) - known:
            found.append(node)
            needed |= read_by(node)
    return found[::-1]


def read_by(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, those of its own names in a Loop included."""
    inner = (each for attribute in node.attribute for each in attribute.g.node)
    return set(node.input).union(*map(read_by, inner))


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """A graph's input or output of this name, dtype and shape."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, element, spec.shape)
