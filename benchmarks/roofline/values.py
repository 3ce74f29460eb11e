"""A graph's tensors and the executions of its nodes, without the numbers."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor.

    Attributes:
        name: as in the graph.
        dtype: of ``onnx.TensorProto``.
        shape: its dimensions.
        data: its numbers, where they are few and known.
        constant: whether it is the same for every input of this shape.
        codes: what it was dequantized from.
        weights: of a constant, what it is computed from: names and numbers of elements.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    data: np.ndarray | None = None
    constant: bool = False
    codes: "Value | None" = None
    weights: frozenset[tuple[str, int]] = frozenset()

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class Step:
    """One execution of a node; an input that was left out is None."""

    node: onnx.NodeProto
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]

    @property
    def given(self) -> list[Value]:
        """The inputs that were not left out."""
        return [each for each in self.inputs if each is not None]


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node, or what it is where it is not written."""
    found = (helper.get_attribute_value(each) for each in node.attribute if each.name == name)
    return next(found, default)
