"""Partial graphs beside the whole one: front end, encoder, and all outputs but latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.bundle.output import Output
from ...runtime.bundle.parts import (
    STATES,
    encoder_file,
    encoder_outputs,
    frames_spec,
    front_end_file,
    levels_file,
    text_encoder_file,
    text_transformer_file,
    without_latents_file,
)
from ...runtime.bundle.record import TensorSpec
from ..graph.levels import levels_graph
from ..graph.nodes import read_by, selected, value_info


def save_parts(
    whole: onnx.ModelProto,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    meanings: Mapping[str, Output],
    level: int | None = None,
) -> list[Path]:
    """Write the parts of a graph beside it; returns the files written.

    Args:
        whole: what ``save_onnx`` has written to ``path``: the parts refer to its external data.
        inputs, outputs: its own; ``features`` are among the outputs.
        meanings: what its outputs mean, by their names, where they are explained.
        level: its deepest; the part that gives every level up to it is written, too, unless None.
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
    if level is not None:
        parts[levels_file(path.name)] = levels_graph(whole, level, int(width))
    for name, model in parts.items():
        path.with_name(name).write_bytes(model.SerializeToString())
    return [path.with_name(name) for name in parts]


def save_text_parts(whole: onnx.ModelProto, path: Path, latents: TensorSpec) -> list[Path]:
    """Write the parts of a text tower's graph beside it; returns the files written.

    Args:
        whole: what ``save_onnx`` has written to ``path``.
        latents: its output.
    """
    parts = {
        text_encoder_file(path.name): part(whole, [IDS, MASK], [STATES]),
        text_transformer_file(path.name): part(whole, [STATES, MASK], [latents]),
    }
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
    wanted = {spec.name for spec in outputs}
    nodes = selected(whole.graph.node, {spec.name for spec in inputs}, wanted)
    needed = wanted.union(*map(read_by, nodes))
    called = {node.op_type for node in nodes}
    found = onnx.ModelProto(
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        opset_import=whole.opset_import,
        functions=[function for function in whole.functions if function.name in called],
    )
    found.graph.name = whole.graph.name
    found.graph.node.extend(nodes)
    found.graph.initializer.extend(t for t in whole.graph.initializer if t.name in needed)
    found.graph.input.extend(map(value_info, inputs))
    found.graph.output.extend(map(value_info, outputs))
    return found
