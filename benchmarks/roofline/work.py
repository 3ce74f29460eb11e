"""What a graph has to compute, read and write for one input, by part of the model.

A part is computed once for each layer that has one. What lies in between, such as norms and sums,
belongs to the part whose result it takes: an engine appends it there.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from onnx import TensorProto, helper

from ...errors import BundleError
from ..measure.parts import ENCODER_REST, MEL, OTHER, SCOPES, part_of
from .values import Step, Value, attribute
from .walk import INDICES

# The precision of a product, by the dtype of its factors.
PRECISIONS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.FLOAT8E5M2: "fp8",
}
BYTES = {"fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
# Operators that multiply and are in none of our graphs.
_NOT_COUNTED = {"Attention", "ConvTranspose", "DFT", "Einsum", "GRU", "LSTM", "RNN", "STFT"}
_PRODUCTS = {"MatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits"}
_LAYER = "layer_"
# Tags, tokens, latents, and the transformer of a MuQ-MuLan.
HEADS = "heads"


@dataclass(eq=False)
class Group:
    """One execution of a part, such as one layer's attention.

    Attributes:
        part: which one, of ``PARTS``, or ``HEADS``.
        multiply_adds: of products of matrices and convolutions, by precision.
        weight_bytes: of the weights that it reads first.
        read_bytes: of each result of another group, or of the input, that it reads.
        written_bytes: of each result that another group reads, or that is an output.
    """

    part: str
    multiply_adds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    weight_bytes: int = 0
    read_bytes: dict[Value, int] = field(default_factory=dict)
    written_bytes: dict[Value, int] = field(default_factory=dict)


def count(
    steps: Sequence[Step], outputs: Sequence[Value], instead_of_fp32: str | None = None
) -> list[Group]:
    """Sum up a graph's work.

    Args:
        steps: its execution.
        outputs: its outputs.
        instead_of_fp32: precision to count what the graph has in float32 in, the log-mel excepted.

    Returns:
        The groups in the order in which they begin.

    Raises:
        BundleError: an operator or a dtype is not one that can be counted.
    """
    counter = _Counter(instead_of_fp32)
    for step in steps:
        counter.add(step)
    for value in outputs:
        counter.written(value)
    return [each for each in counter.groups.values() if each.multiply_adds or each.read_bytes]


class _Counter:
    def __init__(self, instead_of_fp32: str | None) -> None:
        self._instead = instead_of_fp32
        self.groups: dict[str, Group] = {}
        # By what made a value: its group, and how many steps had been counted then.
        self._made: dict[Value, tuple[Group, int]] = {}
        self._weights: set[tuple[str, int]] = set()
        self._steps = 0
        self._scoped = False

    def add(self, step: Step) -> None:
        """Count one step; what is the same for every input was computed beforehand."""
        if all(each.constant for each in step.outputs):
            return
        multiplied = multiply_adds(step)
        group = self._group(step, bool(multiplied))
        if multiplied:
            group.multiply_adds[self._named(_precision(step), group)] += multiplied
        for value in step.given:
            if value.constant:
                self._read_weight(value, group)
            elif (made := self._made.get(value)) is None or made[0] is not group:
                group.read_bytes[value] = self._bytes(value, group)
                self.written(value)
        self._steps += 1
        self._made.update((each, (group, self._steps)) for each in step.outputs)

    def written(self, value: Value) -> None:
        """Note that a result leaves its group."""
        if value in self._made:
            group = self._made[value][0]
            group.written_bytes[value] = self._bytes(value, group)

    def _read_weight(self, value: Value, group: Group) -> None:
        if value.dtype not in INDICES:
            new = value.weights - self._weights
            self._weights |= new
            elements = sum(count for _, count in new)
            group.weight_bytes += elements * self._element_bytes(value, group)

    def _group(self, step: Step, multiplies: bool) -> Group:
        """The group of a step.

        The log-mel is a function of the graph, whose nodes are in no scope: it is what comes before
        the first scope. What has none and multiplies later, such as the tokens, is apart.
        """
        part, scopes = part_of(step.node.name), step.node.name.split("/")[:-1]
        self._scoped = self._scoped or part is not None
        if part is None and not self._scoped:
            return self._named_group(MEL, MEL)
        if part == ENCODER_REST or (part is None and not multiplies):
            made = [self._made[each] for each in step.given if each in self._made]
            if made:
                return max(made, key=lambda each: each[1])[0]
        part = HEADS if part in (None, OTHER) else part
        return self._named_group(part, _instance(scopes, part))

    def _named_group(self, part: str, name: str) -> Group:
        return self.groups.setdefault(name, Group(part))

    def _named(self, precision: str, group: Group) -> str:
        if precision == "fp32" and self._instead is not None and group.part != MEL:
            return self._instead
        # TensorFloat-32 is a way to compute float32: one switch for all products.
        return "tf32" if precision == "fp32" and self._instead == "tf32" else precision

    def _bytes(self, value: Value, group: Group) -> int:
        return value.elements * self._element_bytes(value, group)

    def _element_bytes(self, value: Value, group: Group) -> int:
        stored = value.codes or value
        named = PRECISIONS.get(stored.dtype)
        if named is None:
            return helper.tensor_dtype_to_np_dtype(stored.dtype).itemsize
        return BYTES[self._named(named, group)]


def multiply_adds(step: Step) -> int:
    """How many numbers a step multiplies and adds; 0 for what is no product or convolution.

    Raises:
        BundleError: it multiplies in a way that is not counted.
    """
    kind, result = step.node.op_type, step.outputs[0].elements
    if kind in _PRODUCTS:
        return result * step.given[0].shape[-1]
    if kind == "Gemm":
        rows_first = attribute(step.node, "transA", 0)
        return result * step.given[0].shape[0 if rows_first else 1]
    if kind in ("Conv", "ConvInteger"):
        return result * prod(step.given[1].shape[1:])
    if kind == "QLinearConv":
        return result * prod(step.given[3].shape[1:])
    if kind in _NOT_COUNTED:
        raise BundleError(
            f"{step.node.name or kind}: products by the operator {kind} are not counted yet. Name "
            "an artefact that muqrt wrote with --artefact."
        )
    return 0


def _precision(step: Step) -> str:
    """In which precision a step multiplies: 8 bits where both factors were in 8 bits."""
    factors = [step.given[0], step.given[3 if step.node.op_type == "QLinearConv" else 1]]
    codes = [each.codes for each in factors]
    first = codes[0] if codes[0] is not None and codes[1] is not None else factors[0]
    if first.dtype not in PRECISIONS:
        raise BundleError(
            f"{step.node.name}: multiplies {TensorProto.DataType.Name(first.dtype)}, for which no "
            "rate of a GPU is known. Name another artefact with --artefact."
        )
    return PRECISIONS[first.dtype]


def _instance(scopes: Sequence[str], part: str) -> str:
    """What tells one execution of a part from another: its scopes down to its own, or its layer."""
    own = {scope for scope, name in SCOPES.items() if name == part}
    last = next((i for i, each in enumerate(scopes) if each in own), None)
    if last is None:
        last = next((i for i, each in enumerate(scopes) if each.startswith(_LAYER)), 0)
    return "/".join(scopes[: last + 1])
