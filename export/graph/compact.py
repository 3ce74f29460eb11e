"""Graphs whose files are small: nothing is stored twice, nor in more bits than it has."""

import numpy as np
import onnx
from onnx import TensorProto, inliner

from .saving import SMALL_TENSOR_BYTES
from .writer import Graph

# A weight is scaled to a largest magnitude from 2**14 to 2**15, so that what was subnormal in the
# checkpoint's float16, or was halved since, fits in float16 again.
_LARGEST_EXPONENT = 15


class CompactGraph(Graph):
    """Stores weights that float16 holds exactly, such as those of a checkpoint in float16, in 16
    bits, times a power of two. A runtime widens them when it loads the graph, and computes in
    float32."""

    def weight(self, name: str, value: np.ndarray) -> str:
        """Store a weight that is read as float32; returns the value's name."""
        value = np.asarray(value)
        shift = _LARGEST_EXPONENT - int(np.frexp(np.abs(value).max(initial=0))[1])
        scaled = np.ldexp(value, shift)
        half = scaled.astype(np.float16)
        if half.nbytes < SMALL_TENSOR_BYTES or not np.array_equal(scaled, half):
            return super().weight(name, value)
        widened = self.op("Cast", self.raw(name, half), to=TensorProto.FLOAT)
        return self.op("Mul", widened, self.constant(2.0**-shift, np.float32))


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write functions out where they are called, and their constants as weights, which can lie in a
    file that several graphs share. Engines no longer find the functions to replace them."""
    found = inliner.inline_local_functions(model)
    nodes = list(found.graph.node)
    del found.graph.node[:]
    for node in nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = found.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            found.graph.node.append(node)
    return found
