"""The nodes of an ONNX local function, written shortly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

DOMAIN = "muqrt"
# By these attributes TensorRT's parser finds the fused kernel that plugins.py registers.
PLUGIN: dict[str, Any] = {"plugin_namespace": DOMAIN, "plugin_version": "1", "aot": 1}


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; the names of its inputs and outputs are separated by spaces."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def local_function(
    name: str,
    inputs: list[str],
    outputs: list[str],
    nodes: Sequence[onnx.NodeProto],
    opset: int,
    attributes: list[str],
    description: str,
) -> onnx.FunctionProto:
    """The function ``muqrt::<name>``.

    Its nodes are named after it and their first outputs: TensorRT's parser puts the nodes of all
    functions beside those of the graph, and warns of a name that it has already seen.
    """
    for each in nodes:
        each.name = f"{name}.{each.output[0]}"
    return helper.make_function(
        DOMAIN,
        name,
        inputs=inputs,
        outputs=outputs,
        nodes=nodes,
        opset_imports=[helper.make_opsetid("", opset)],
        attributes=attributes,
        doc_string=description,
    )


def int64(**values: int | list[int]) -> list[onnx.NodeProto]:
    """Constants by name, as shapes, axes and indices are: int64."""
    return [_constant(name, np.array(value, dtype=np.int64)) for name, value in values.items()]


def float32(**values: float | np.ndarray) -> list[onnx.NodeProto]:
    """Constants by name, rounded to float32."""
    return [_constant(name, np.asarray(value, dtype=np.float32)) for name, value in values.items()]


def attribute_int(attribute: str, output: str) -> onnx.NodeProto:
    """A scalar int64 constant whose value is the calling node's attribute."""
    return _referring("value_int", onnx.AttributeProto.INT, attribute, output)


def attribute_float(attribute: str, output: str) -> onnx.NodeProto:
    """A scalar float32 constant whose value is the calling node's attribute."""
    return _referring("value_float", onnx.AttributeProto.FLOAT, attribute, output)


def _referring(
    field: str, kind: onnx.AttributeProto.AttributeType, attribute: str, output: str
) -> onnx.NodeProto:
    constant = helper.make_node("Constant", [], [output])
    reference = constant.attribute.add(name=field, ref_attr_name=attribute)
    reference.type = kind
    return constant


def _constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
