"""Retype a float32 graph strongly: matrix products in 16 bits, sensitive operators in float32.

Every tensor's type is in the file, and a Cast stands wherever it changes: the engine decides
nothing. Three rules give each node its precision:

- products (MatMul, Conv, Gemm) are computed in 16 bits, weights included, and what they read of
  8 bits becomes 16;
- what loses accuracy or range in 16 bits is computed in float32: LayerNormalization, Softmax,
  means, lengths, the log-mel, the head, the RVQ, and every node that is asked to be kept;
- anything else has the widest type of its inputs, as in numpy. So nothing is rounded only to be
  widened again, the rotary positions stay float32, and so does the residual stream, which begins
  as the float32 value ``frames`` and to which the layers' 16-bit answers are added.

A residual stream of 16 bits costs nearly twice the error: with every rounding emulated, on a random
model of 12 layers 256 wide, a relative L2 of 1.6e-3 instead of 8.0e-4 in float16, and of 1.2e-2
instead of 7.1e-3 in bfloat16. What it would save are reads and writes of one value per layer part.
"""

from collections.abc import Collection, Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper

from ....kernels.log_mel.onnx import NAME as LOG_MEL
from ....kernels.mel_rvq.onnx import NAME as MEL_RVQ
from .formats import Half

PRODUCTS = ("MatMul", "Conv", "Gemm")
# Identity gives a value its public name, and public values are float32.
FLOAT32_OPERATORS = (
    "LayerNormalization",
    "Softmax",
    "ReduceMean",
    "ReduceL2",
    "Identity",
    LOG_MEL,
)
_FLOAT32_SCOPES = ("head/", "mix/", "rvq/")
_INTEGER_ANSWERS = ("Shape", "ArgMax", "QuantizeLinear", MEL_RVQ)
_WIDE: int = TensorProto.FLOAT


def always_float32(node: onnx.NodeProto) -> bool:
    """Whether a node is float32 whatever its numbers are."""
    return node.op_type in FLOAT32_OPERATORS or node.name.startswith(_FLOAT32_SCOPES)


def typed(model: onnx.ModelProto, half: Half, kept: Collection[str] = ()) -> onnx.ModelProto:
    """Retype a float32 graph in place; returns it.

    Args:
        model: as ``onnx_from_checkpoint`` makes it; its weights are in memory.
        half: the format of 16 bits.
        kept: names of further nodes that stay float32.
    """
    writer = _Writer(model.graph, half)
    for node in list(model.graph.node):
        writer.write(node, keep=node.name in kept)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    writer.store_weights()
    for imported in (model.opset_import, *(each.opset_import for each in model.functions)):
        for opset in imported:
            if opset.domain == "":
                opset.version = max(opset.version, half.opset)
    # Of the same releases of ONNX: 1.13 and 1.17.
    model.ir_version = 8 if half.opset < 20 else 10
    return model


def nodes_of(model: onnx.ModelProto, element: int) -> Iterator[onnx.NodeProto]:
    """The nodes that compute in a floating-point type, by its number in ONNX; no Casts."""
    values = (*model.graph.input, *model.graph.initializer)
    known = {each.name for each in values if _element(each) == element}
    for node in model.graph.node:
        if node.op_type == "Cast":
            known.update(node.output if cast_to(node) == element else ())
        elif _answers_in(known, node):
            known.update(node.output)
            yield node


def cast_to(node: onnx.NodeProto) -> int:
    """The type that a Cast gives."""
    return next(each.i for each in node.attribute if each.name == "to")


def _answers_in(known: Collection[str], node: onnx.NodeProto) -> bool:
    """Whether a node's answers are of the type of its inputs, some of which are ``known``."""
    return node.op_type not in _INTEGER_ANSWERS and any(name in known for name in node.input)


def _element(value: onnx.ValueInfoProto | onnx.TensorProto) -> int:
    if isinstance(value, onnx.TensorProto):
        return value.data_type
    return value.type.tensor_type.elem_type


class _Writer:
    """Copies nodes and gives each its inputs in its own type."""

    def __init__(self, graph: onnx.GraphProto, half: Half) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._half = graph, half
        self._weights = {each.name for each in graph.initializer if _element(each) == _WIDE}
        inputs = {each.name for each in graph.input if _element(each) == _WIDE}
        # Of everything that is floating-point.
        self._elements = dict.fromkeys(self._weights | inputs, _WIDE)

    def write(self, node: onnx.NodeProto, keep: bool) -> None:
        """Append a node, after the Casts that it needs."""
        if node.op_type == "Cast" and cast_to(node) == _WIDE:  # of an integer
            self._elements[node.output[0]] = _WIDE
        elif _answers_in(self._elements, node):
            element = self._type_of(node, keep)
            node.input[:] = [self._as(name, element) for name in node.input]
            self._elements |= dict.fromkeys(node.output, element)
        elif node.op_type == "QuantizeLinear":  # its scale has the type of what it reads
            element = self._elements[node.input[0]]
            node.input[:] = [self._as(name, element) for name in node.input]
        elif node.op_type != "Shape":  # which reads any type
            node.input[:] = [self._as(name, _WIDE) for name in node.input]
        self.nodes.append(node)

    def _type_of(self, node: onnx.NodeProto, keep: bool) -> int:
        if keep or always_float32(node):
            return _WIDE
        if node.op_type in (*PRODUCTS, "DequantizeLinear"):
            return self._half.element
        read = [self._elements.get(name) for name in node.input if name not in self._weights]
        narrow = self._half.element in read and _WIDE not in read
        return self._half.element if narrow else _WIDE

    def _as(self, name: str, element: int) -> str:
        """Cast a floating-point value to a type; other values stay as they are."""
        if self._elements.get(name, element) == element:
            return name
        suffix = self._half.name if element == self._half.element else "float32"
        converted = f"{name}/{suffix}"
        if converted not in self._elements:
            self._elements[converted] = element
            if name not in self._weights:
                cast = helper.make_node("Cast", [name], [converted], name=converted, to=element)
                self.nodes.append(cast)
        return converted

    def store_weights(self) -> None:
        """Put the weights into the graph in the types that are read."""
        read = {name for node in self.nodes for name in node.input}
        for tensor in list(self._graph.initializer):
            converted = f"{tensor.name}/{self._half.name}"
            if tensor.name not in self._weights or converted not in read:
                continue
            stored = self._half.encoded(converted, numpy_helper.to_array(tensor))
            if tensor.name in read:
                self._graph.initializer.append(stored)
            else:  # in its place, so that only one weight at a time is there twice
                tensor.CopyFrom(stored)
