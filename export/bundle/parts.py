"""Partial graphs beside the whole one: front end, encoder, and all outputs but latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from ...runtime.bundle.joint import LATENTS
from ...runtime.bundle.output import Output
from ...runtime.bundle.parts import (
    encoder_file,
    encoder_outputs,
    frames_spec,
    front_end_file,
    without_latents_file,
)
from ...runtime.bundle.record import TensorSpec


def save_parts(
    whole: onnx.ModelProto,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    meanings: Mapping[str, Output],
) -> list[Path]:
    """Write the parts of a graph beside it; returns the files written.

    Args:
        whole: what ``save_onnx`` has written to ``path``: the parts refer to its external data.
        inputs, outputs: its own; ``features`` are among the outputs.
        meanings: what its outputs mean, by their names, where they are explained.
    """
    (width,) = (spec.shape[-1] for spec in outputs if spec.name == "features")
    frames = [frames_spec(int(width))]
    parts = {
        front_end_file(path.name): part(whole, inputs, frames),
        encoder_file(path.name): part(whole, frames, encoder_outputs(outputs, meanings)),
    }
    others = [spec for spec in outputs if spec.name != LATENTS]
    if others != list(outputs):
        parts[without_latents_file(path.name)] = part(whole, inputs, others)
    for name, model in parts.items():
        path.with_name(name).write_bytes(model.SerializeToString())
    return [path.with_name(name) for name in parts]


def part(
    whole: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> onnx.ModelProto:
    """Cut out the part of a graph between given values.

    The weights are as they are there, name and place in a file included: of a model that
    ``save_onnx`` has written, the parts read the same file, and nothing is stored twice.

    Args:
        whole: the graph; its nodes are in order.
        inputs: values that become the part's inputs.
        outputs: values that become its outputs.
    """
    given = {spec.name for spec in inputs}
    needed = {spec.name for spec in outputs}
    nodes = []
    for node in reversed(whole.graph.node):
        if needed & set(node.output) - given:
            nodes.append(node)
            needed |= _read_by(node)
    called = {node.op_type for node in nodes}
    found = onnx.ModelProto(
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        opset_import=whole.opset_import,
        functions=[function for function in whole.functions if function.name in called],
    )
    found.graph.name = whole.graph.name
    found.graph.node.extend(reversed(nodes))
    found.graph.initializer.extend(t for t in whole.graph.initializer if t.name in needed)
    found.graph.input.extend(map(_value, inputs))
    found.graph.output.extend(map(_value, outputs))
    return found


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, those of its own names in a Loop included."""
    inner = (each for attribute in node.attribute for each in attribute.g.node)
    return set(node.input).union(*map(_read_by, inner))


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, element, spec.shape)
