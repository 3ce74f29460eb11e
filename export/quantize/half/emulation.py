"""A half-precision graph on an engine without half precision: float32, rounded at every step.

ONNX Runtime's CPU has no bfloat16 products, and computes float16 ones in float32 without rounding
in between: numbers that overflow float16 pass there. Here each value that has 16 bits in the typed
graph is computed in float32 and rounded to those 16 bits, infinities included, as an engine does
that sums in float32 and fuses nothing; one that fuses rounds less often. It shows what the format
costs, and proves no engine.
"""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper

from .formats import Half
from .typed import cast_to, nodes_of


def emulated(model: onnx.ModelProto, half: Half) -> onnx.ModelProto:
    """Turn a typed graph into an emulation of itself, in place; returns it.

    Args:
        model: as ``typed`` makes it; its weights are in memory.
        half: its format of 16 bits.
    """
    narrow = {node.name for node in nodes_of(model, half.element)}
    for tensor in model.graph.initializer:
        if tensor.data_type == half.element:
            tensor.CopyFrom(numpy_helper.from_array(half.decoded(tensor), tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Cast" and cast_to(node) == half.element:
            nodes += _rounded(node.input[0], node.output[0], half)
        elif node.name in narrow:
            values = list(node.output)
            node.output[:] = [f"{value}/exact" for value in values]
            nodes.append(node)
            for value in values:
                nodes += _rounded(f"{value}/exact", value, half)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _rounded(exact: str, value: str, half: Half) -> Iterator[onnx.NodeProto]:
    stored = f"{value}/stored"
    yield helper.make_node("Cast", [exact], [stored], name=stored, to=half.element)
    yield helper.make_node("Cast", [stored], [value], name=f"{value}/widened", to=TensorProto.FLOAT)
