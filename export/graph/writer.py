"""A thin writer of ONNX graphs: scoped names, constants stored once, nodes in order."""

from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...reference.muq import MuQ
from ...runtime.bundle.record import TensorSpec

# The newest operator set that the Triton containers of the last two years all execute.
OPSET = 18
# ONNX Runtime's own operators.
RUNTIME_DOMAIN = "com.microsoft"
# Paired with that operator set by ONNX's release table.
IR_VERSION = 8


class Graph:
    """Writes nodes and initializers; every value is known by its name.

    They go straight into the model: protobuf copies what it is given, and a full-size model is
    over a gigabyte.

    Attributes:
        cuts_long_inputs: whether attention to long inputs is in blocks of queries, for engines
            that hold all scores at once.
    """

    cuts_long_inputs = False

    def __init__(self) -> None:
        self._model = helper.make_model(
            onnx.GraphProto(name="muqrt"),
            producer_name="muqrt",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        self.nodes: MutableSequence[onnx.NodeProto] = self._model.graph.node
        self.initializers = self._model.graph.initializer
        self._scopes: list[str] = []
        self._names: set[str] = set()
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names made inside the block, so that a viewer shows the modules."""
        self._scopes.append(name)
        yield
        self._scopes.pop()

    def op(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        return self.ops(operator, inputs, 1, domain=domain, **attributes)[0]

    def ops(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Append a node with several outputs; returns their names."""
        name = self._unique(operator)
        results = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        node = helper.make_node(
            operator, list(inputs), results, name=name, domain=domain, **attributes
        )
        self.nodes.append(node)
        return results

    def loop(self, count: str, first: str, turn: Callable[[str, str], str]) -> str:
        """Repeat what ``turn`` writes; returns the value that it gives the last time.

        Args:
            count: how often, int64 ().
            first: the value before the first turn, float32; its shape may change with every turn.
            turn: called once, with the names of the turn's number, int64 (), and of the value so
                far; writes nodes, and returns the name of the next value. It may read whatever was
                written before, and stores weights as ever.
        """
        number, going, value = (self._unique(name) for name in ("turn", "going", "value"))
        outside, self.nodes = self.nodes, []
        last = turn(number, value)
        still = self.op("Identity", going)
        body = onnx.GraphProto(name=self._unique("body"), node=self.nodes)
        self.nodes = outside
        kinds = TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT
        for into, names in ((body.input, (number, going, value)), (body.output, (still, last))):
            for name, kind in zip(names, kinds[-len(names) :], strict=True):
                shape: list[int] | None = None if kind == TensorProto.FLOAT else []
                into.append(helper.make_tensor_value_info(name, kind, shape))
        return self.op("Loop", count, "", first, body=body)

    def weight(self, name: str, value: np.ndarray) -> str:
        """Store a weight as float32; returns its name."""
        name = self._unique(name)
        stored = np.ascontiguousarray(value, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(stored, name))
        return name

    def raw(self, name: str, value: np.ndarray) -> str:
        """Store a weight in its own dtype; returns its name."""
        name = self._unique(name)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def constant(self, value: object, dtype: type = np.int64) -> str:
        """Store a small constant once, however often it is used; returns its name."""
        array: np.ndarray = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            name = f"constant.{len(self._shared)}"
            self.initializers.append(numpy_helper.from_array(array, name))
            self._shared[key] = name
        return self._shared[key]

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        return self.biased(name, self.op("MatMul", x, self.weight(f"{name}.weight", matrix)), bias)

    def biased(self, name: str, product: str, bias: np.ndarray | None) -> str:
        """product + bias, where there is one, of the linear layer of this name."""
        if bias is None:
            return product
        return self.op("Add", product, self.weight(f"{name}.bias", bias))

    def direct_convolution(
        self, name: str, kernel: np.ndarray, bias: np.ndarray, x: str, strides: list[int]
    ) -> str:
        """A 3x3 convolution of (batch, channels, height, width), padded, and its bias."""
        weights = self.weight(f"{name}.weight", kernel), self.weight(f"{name}.bias", bias)
        return self.op("Conv", x, *weights, strides=strides, pads=[1, 1, 1, 1])

    def front_end(self, model: MuQ, log_mel: str) -> str | None:
        """Write the front end, (batch, mels, frames) to (batch, steps, width), if this kind of
        graph has its own form; None leaves it to ``front_end.front_end``."""
        return None

    def lookup(self, name: str, table: np.ndarray, indices: str) -> str:
        """Rows of a table (rows, width)."""
        return self.op("Gather", self.weight(f"{name}.weight", table), indices)

    def rename(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def model(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        functions: Sequence[onnx.FunctionProto] = (),
    ) -> onnx.ModelProto:
        """Finish the model, once."""
        graph = self._model.graph
        for values, specs in ((graph.input, inputs), (graph.output, outputs)):
            for spec in specs:
                element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
                values.append(helper.make_tensor_value_info(spec.name, element, spec.shape))
        self._model.functions.extend(functions)
        for domain in dict.fromkeys(function.domain for function in functions):
            self._model.opset_import.append(helper.make_opsetid(domain, 1))
        return self._model

    def scoped(self, name: str) -> str:
        """The name with the scopes it is written in."""
        return "/".join([*self._scopes, name])

    def _unique(self, name: str) -> str:
        base = self.scoped(name)
        candidate, count = base, 1
        while candidate in self._names:
            count += 1
            candidate = f"{base}.{count}"
        self._names.add(candidate)
        return candidate
