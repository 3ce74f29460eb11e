"""Float32 matrix products in the form that TensorRT for RTX compiles for Turing.

For sm75 it refuses MatMul, Gemm and Einsum in float32 ("FP32 GEMM is not supported") and takes
convolutions. A product with constant weights is a convolution with a kernel of one: the same
numbers, but for the order of a sum. Products of two computed matrices, as in attention, stay: in
float16 they compile, in float32 the compiler refuses them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

# What keeps a constant constant.
_FOLDED = ("Constant", "Gather", "Identity", "Transpose", "Slice", "Reshape")


def products_as_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite float32 products with constant matrices (in, out) or (out, in).

    Args:
        model: its weights may be left in its external data.

    Returns:
        Another model, local functions inlined.
    """
    model = inliner.inline_local_functions(model)
    inferred = shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {each.name: each.type.tensor_type for each in values}
    ranks = {name: len(each.shape.dim) for name, each in types.items() if each.HasField("shape")}
    ranks |= {each.name: len(each.dims) for each in model.graph.initializer}
    floats = {name for name, each in types.items() if each.elem_type == TensorProto.FLOAT}
    constants = {each.name for each in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for axis in (0, 2):
        tensor = numpy_helper.from_array(np.array([axis]), _axis(axis))
        model.graph.initializer.append(tensor)
    for node in nodes:
        if node.op_type in _FOLDED and constants.issuperset(node.input):
            constants.update(node.output)
        form = None
        if node.op_type == "MatMul" and node.output[0] in floats:
            left, right = node.input
            if left in constants and ranks.get(left) == 2:
                form = _FROM_LEFT.get(ranks.get(right, 0))
            elif right in constants and ranks.get(right) == 2:
                form = _FROM_RIGHT.get(ranks.get(left, 0))
        model.graph.node.extend(form(node) if form is not None else [node])
    return model


def _from_left(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """(out, in) @ (batch, in, time)."""
    matrix, x = node.input
    yield _step(node, "Unsqueeze", "kernel", [matrix, _axis(2)])
    yield _conv(node, x, node.output[0])


def _from_right(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """(batch, time, in) @ (in, out)."""
    x, _ = node.input
    yield from _kernel_of_right(node)
    yield _step(node, "Transpose", "channels_first", [x], perm=[0, 2, 1])
    yield _conv(node, _name(node, "channels_first"), _name(node, "convolved"))
    yield _last(node, "Transpose", perm=[0, 2, 1])


def _row_from_right(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """(batch, in) @ (in, out)."""
    x, _ = node.input
    yield from _kernel_of_right(node)
    yield _step(node, "Unsqueeze", "of_one_step", [x, _axis(2)])
    yield _conv(node, _name(node, "of_one_step"), _name(node, "convolved"))
    yield _last(node, "Squeeze", _axis(2))


Form = Callable[[onnx.NodeProto], Iterator[onnx.NodeProto]]
# By the rank of what is not constant.
_FROM_LEFT: dict[int, Form] = {3: _from_left}
_FROM_RIGHT: dict[int, Form] = {2: _row_from_right, 3: _from_right}


def _kernel_of_right(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield _step(node, "Transpose", "transposed", [node.input[1]], perm=[1, 0])
    yield _step(node, "Unsqueeze", "kernel", [_name(node, "transposed"), _axis(2)])


def _conv(node: onnx.NodeProto, x: str, output: str) -> onnx.NodeProto:
    name = _name(node, "convolution")
    return helper.make_node("Conv", [x, _name(node, "kernel")], [output], name=name)


def _step(
    node: onnx.NodeProto, operator: str, name: str, inputs: list[str], **attributes: Any
) -> onnx.NodeProto:
    named = _name(node, name)
    return helper.make_node(operator, inputs, [named], name=named, **attributes)


def _last(node: onnx.NodeProto, operator: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    given = [_name(node, "convolved"), *inputs]
    return helper.make_node(operator, given, node.output, name=node.name, **attributes)


def _name(node: onnx.NodeProto, name: str) -> str:
    return f"{node.output[0]}/{name}"


def _axis(axis: int) -> str:
    return f"turing/axis_{axis}"
