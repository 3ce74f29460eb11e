"""The shapes of all tensors of an ONNX graph for one input, found without computing its numbers.

Only what decides shapes is computed: counts, indices and bounds. Loops run turn by turn, so that
each turn's shapes are its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from ...errors import BundleError
from .runtime_operators import SHAPES, Kind
from .values import Step, Value, attribute

# Counts, bounds and conditions; more of them than these decide no shape.
INDICES = (TensorProto.INT64, TensorProto.BOOL)
_COMPUTED_ELEMENTS = 4096
# A hostile graph could repeat for ever.
_MOST_TURNS = 10_000

_Names = dict[str, Value]


class Walk:
    """A graph's nodes in the order of execution. Weights beside the graph are not read.

    Args:
        path: the .onnx file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            loaded = onnx.load(path, load_external_data=False)
            self._model = inliner.inline_local_functions(loaded)
        except Exception as error:  # protobuf's and ONNX's own kinds
            raise BundleError(
                f"{path}: cannot read this ONNX graph ({error}). Export the bundle again."
            ) from None
        self._opsets = {each.domain: each.version for each in self._model.opset_import}
        self._evaluators: dict[bytes, ReferenceEvaluator] = {}

    def run(
        self, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str] | None = None
    ) -> tuple[list[Step], list[Value]]:
        """Run through the graph.

        Args:
            inputs: the shape of every input, by its name.
            outputs: names of those that are wanted; all by default.

        Returns:
            Every execution of a node that the outputs need, and the outputs.

        Raises:
            BundleError: an operator is unknown, or a shape depends on the input's numbers.
        """
        graph = self._model.graph
        names = {each.name: _stored(each) for each in graph.initializer}
        for each in graph.input:
            if each.name in inputs:
                dtype = each.type.tensor_type.elem_type
                names[each.name] = Value(each.name, dtype, tuple(inputs[each.name]))
        steps = list(self._nodes(graph.node, names))
        wanted = [
            names[each.name] for each in graph.output if outputs is None or each.name in outputs
        ]
        return _needed(steps, wanted), wanted

    def _nodes(self, nodes: Sequence[onnx.NodeProto], names: _Names) -> Iterator[Step]:
        for node in nodes:
            given = tuple(names[each] if each else None for each in node.input)
            if node.op_type == "Loop":
                yield from self._loop(node, given, names)
                continue
            outputs = self._outputs(node, given)
            names.update(zip(node.output, outputs, strict=True))
            yield Step(node, given, outputs)

    def _loop(
        self, node: onnx.NodeProto, given: Sequence[Value | None], names: _Names
    ) -> Iterator[Step]:
        """The body's nodes, turn by turn. What comes out is what the last turn hands on:
        ``Graph.loop`` writes no other outputs."""
        body = attribute(node, "body", None)
        count, going, *carried = given
        if count is None or count.data is None or going is not None:
            raise self._refused(node, "how often it repeats is not known beforehand")
        if not 0 <= count.data.item() <= _MOST_TURNS:
            raise self._refused(node, f"it repeats {count.data.item()} times")
        inner = names | {each.name: _stored(each) for each in body.initializer}
        number, condition, *values = (each.name for each in body.input)
        inner[condition] = Value(condition, TensorProto.BOOL, (), np.array(True), constant=True)
        for turn in range(count.data.item()):
            inner[number] = Value(number, TensorProto.INT64, (), np.array(turn), constant=True)
            inner.update((k, v) for k, v in zip(values, carried, strict=True) if v is not None)
            yield from self._nodes(body.node, inner)
            carried = [inner[each.name] for each in body.output[1:]]
        for name, value in zip(node.output, carried, strict=True):
            if value is not None:
                names[name] = value

    def _outputs(self, node: onnx.NodeProto, given: Sequence[Value | None]) -> tuple[Value, ...]:
        there = [each for each in given if each is not None]
        if node.op_type in ("Shape", "Size"):
            counts = np.array(there[0].shape, np.int64)
            start, end = attribute(node, "start", 0), attribute(node, "end", None)
            counts = counts[start:end] if node.op_type == "Shape" else counts.prod(keepdims=False)
            kinds: list[Kind] = [(TensorProto.INT64, counts.shape)]
            data: list[np.ndarray | None] = [counts]
            constant = True
        else:
            constant = all(each.constant for each in there)
            kinds = self._kinds(node, there)
            data = self._data(node, there, kinds)
        codes = there[0] if node.op_type == "DequantizeLinear" else None
        of = (each.weights for each in there)
        weights = frozenset[tuple[str, int]]().union(*of) if constant else frozenset()
        if not there:
            [(dtype, shape)] = kinds
            weights = _weights(node.output[0], dtype, shape)
        return tuple(
            Value(name, *kind, numbers, constant, codes, weights)
            for name, kind, numbers in zip(node.output, kinds, data, strict=True)
        )

    def _kinds(self, node: onnx.NodeProto, given: Sequence[Value]) -> list[Kind]:
        """Dtype and shape of each output."""
        if node.op_type in SHAPES and node.domain:
            return [SHAPES[node.op_type](node, given)]
        node = _by_position(node)
        names = [each for each in node.input if each]
        types = {
            name: helper.make_tensor_type_proto(each.dtype, each.shape)
            for name, each in zip(names, given, strict=True)
        }
        known = {
            name: numpy_helper.from_array(each.data, name)
            for name, each in zip(names, given, strict=True)
            if each.data is not None
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
            found = infer_node_outputs(
                schema, node, types, known, opset_imports=list(self._model.opset_import)
            )
        except Exception as error:  # of onnx.defs and onnx.shape_inference, without a common base
            raise self._refused(node, str(error).strip().partition("\n")[0]) from None
        return [self._kind(node, found[name].tensor_type) for name in node.output]

    def _kind(self, node: onnx.NodeProto, found: Any) -> Kind:
        if not all(each.HasField("dim_value") for each in found.shape.dim):
            raise self._refused(node, "its shape depends on the input's numbers")
        return found.elem_type, tuple(each.dim_value for each in found.shape.dim)

    def _data(
        self, node: onnx.NodeProto, given: Sequence[Value], kinds: Sequence[Kind]
    ) -> list[np.ndarray | None]:
        """The outputs' numbers, where they are few and whole, and all inputs' are known."""
        useful = all(_decides_shapes(*kind) for kind in kinds)
        if not useful or node.domain or any(each.data is None for each in given):
            return [None] * len(kinds)
        node = _by_position(node)
        key = node.SerializeToString()
        if key not in self._evaluators:
            imports = list(self._model.opset_import)
            names = list(dict.fromkeys(each for each in node.input if each))
            alone = helper.make_function("", "alone", names, list(node.output), [node], imports)
            self._evaluators[key] = ReferenceEvaluator(alone)
        names = [each for each in node.input if each]
        feeds = {name: each.data for name, each in zip(names, given, strict=True)}
        return [np.asarray(each) for each in self._evaluators[key].run(None, feeds, {})]

    def _refused(self, node: onnx.NodeProto, reason: str) -> BundleError:
        return BundleError(
            f"{self._path}: cannot count what {node.op_type} {node.name!r} computes: {reason}."
        )


def _needed(steps: Sequence[Step], outputs: Sequence[Value]) -> list[Step]:
    """The steps without which there would be no outputs, in order."""
    needed, found = set(outputs), []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            needed.update(step.given)
            found.append(step)
    return found[::-1]


def _by_position(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node, its inputs named by position: a value that a loop hands on keeps its name, and two
    of one name may meet."""
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    renamed.input[:] = [f"input.{index}" if each else "" for index, each in enumerate(node.input)]
    return renamed


def _decides_shapes(dtype: int, shape: tuple[int, ...]) -> bool:
    return dtype in INDICES and prod(shape) <= _COMPUTED_ELEMENTS


def _weights(name: str, dtype: int, shape: tuple[int, ...]) -> frozenset[tuple[str, int]]:
    return frozenset() if dtype in INDICES else frozenset({(name, prod(shape))})


def _stored(tensor: TensorProto) -> Value:
    """A weight or constant, its numbers only where they decide shapes and lie in the graph."""
    shape = tuple(tensor.dims)
    inside = tensor.data_location != TensorProto.EXTERNAL
    known = inside and _decides_shapes(tensor.data_type, shape)
    data = numpy_helper.to_array(tensor) if known else None
    weights = _weights(tensor.name, tensor.data_type, shape)
    return Value(tensor.name, tensor.data_type, shape, data, constant=True, weights=weights)
