"""What TensorRT asks of our plugins while it builds an engine, the answers written as JSON.

The bindings, the plugin registry and the plugin templates are TensorRT's own. Only what a builder
would hand to a plugin is made here: dimensions (as text, to be evaluated for any shape) and places
to put the answers.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorrt as trt

from muqrt.errors import KernelError
from muqrt.kernels.build import MEAN_DB, STD_DB
from muqrt.kernels.log_mel import tables as log_mel_tables
from muqrt.kernels.log_mel import triton as log_mel_triton
from muqrt.kernels.mel_rvq import triton as mel_rvq_triton
from muqrt.kernels.plugins import register_plugins

OPERATORS = {
    trt.DimensionOperation.SUM: "({} + {})",
    trt.DimensionOperation.SUB: "({} - {})",
    trt.DimensionOperation.PROD: "({} * {})",
    trt.DimensionOperation.FLOOR_DIV: "({} // {})",
    trt.DimensionOperation.CEIL_DIV: "-(-{} // {})",
}


@dataclass(frozen=True)
class Dimension:
    """Takes the place of an IDimensionExpr, which has no constructor."""

    text: str

    def is_constant(self) -> bool:
        return self.text.isdecimal()

    def is_size_tensor(self) -> bool:
        return False

    def get_constant_value(self) -> int:
        return int(self.text)


class Dimensions(list):
    """Takes the place of DimsExprs."""

    def __init__(self, items):
        super().__init__([None] * items if isinstance(items, int) else map(Dimension, items))


class Symbol:
    """Takes the place of ISymExpr."""


class Builder:
    """Takes the place of an IExprBuilder, with what the plugin templates call."""

    def constant(self, value):
        return Dimension(str(value))

    def operation(self, operator, first, second):
        return Dimension(OPERATORS[operator].format(first.text, second.text))


class Scalars(dict):
    """Takes the place of an ISymExprs."""

    nbSymExprs = 0  # noqa: N815


# Before the plugin templates, which register_plugins() imports, derive from them.
trt.IDimensionExpr, trt.DimsExprs, trt.ISymExpr = Dimension, Dimensions, Symbol


def described(dims, dtype):
    """A tensor as a builder describes it: -1 for a dimension that varies."""
    tensor = trt.DynamicPluginTensorDesc()
    desc = tensor.desc
    desc.dims = trt.Dims([int(each) if each.isdecimal() else -1 for each in dims])
    desc.type, desc.format = dtype, trt.TensorFormat.LINEAR
    tensor.desc = desc
    return tensor


def life(name, attributes, inputs, input_types):
    """Create the plugin as the ONNX parser does, and build it for every combination of dtypes."""
    creator = trt.get_plugin_registry().get_creator(name, "1", "muqrt")
    given = [trt.PluginField(field.name, *attributes[field.name]) for field in creator.field_names]
    plugin = creator.create_plugin(
        name,
        "muqrt",
        trt.PluginFieldCollection(given),
        trt.TensorRTPhase.BUILD,
        trt.QuickPluginCreationRequest.STRICT_AOT,
    )
    output_types = plugin.get_output_data_types(input_types, [len(each) for each in inputs])
    (output,) = plugin.get_output_shapes([Dimensions(each) for each in inputs], [], Builder())
    shapes = [*inputs, [each.text for each in output]]
    in_out = [described(*each) for each in zip(shapes, [*input_types, *output_types], strict=True)]
    flat = plugin.get_supported_format_combinations(in_out, len(inputs))
    combinations = [flat[i : i + len(in_out)] for i in range(0, len(flat), len(in_out))]
    return {
        "fields": [field.name for field in creator.field_names],
        "output_type": output_types[0].name,
        "output_shape": shapes[-1],
        "kernels": [kernel(plugin, shapes, combination) for combination in combinations],
    }


def kernel(plugin, shapes, combination):
    """The kernel for one combination of dtypes, and how it is to be launched."""
    in_out = [described(dims, each.type) for dims, each in zip(shapes, combination, strict=True)]
    ins, outs = in_out[:-1], in_out[-1:]
    plugin.configure_plugin(ins, outs)
    (tactic,) = plugin.get_valid_tactics() or [0]
    plugin.set_tactic(tactic)
    launch, scalars = SimpleNamespace(), Scalars()
    inputs = [Dimensions(each) for each in shapes[:-1]]
    plugin.get_launch_params(inputs, in_out, len(ins), launch, scalars, Builder())
    entry, ptx = plugin.get_kernel([each.desc for each in ins], [each.desc for each in outs])
    return {
        "types": [each.type.name for each in combination],
        "formats": sorted({each.format.name for each in combination}),
        "entry": entry,
        "ptx": ptx.decode(),
        "launch": {name: symbol.expr.text for name, symbol in vars(launch).items()},
        "scalars": [scalars[i].expr.text for i in range(scalars.nbSymExprs)],
        "scalar_types": sorted({each.dtype.name for each in scalars.values()}),
    }


def log_mel():
    # As the parser passes an ONNX node's attributes: 32 bits wide.
    fp32 = trt.PluginFieldType.FLOAT32
    attributes = {"std_db": (np.float32([STD_DB]), fp32), "mean_db": (np.float32([MEAN_DB]), fp32)}
    tables = [str(log_mel_tables.SIZE)]
    return life("LogMel", attributes, [["batch", "samples"], tables], [trt.float32] * 2)


def mel_rvq(stages, code_width):
    attributes = {"frames_per_step": (np.int32([4]), trt.PluginFieldType.INT32)}
    latents = stages * code_width
    tables = [[latents, 512], [latents], [stages, 1024, code_width], [stages, 1024, latents]]
    inputs = [["batch", "128", "frames"], *([str(each) for each in table] for table in tables)]
    return life("MelRvq", attributes, inputs, [trt.float32] * 5)


def too_large():
    try:
        mel_rvq(stages=16, code_width=32)
    except KernelError as error:
        return str(error)


def main():
    asked = []
    variant = log_mel_triton.variant

    def recorded(*arguments):
        asked.append(arguments)
        return variant(*arguments)

    log_mel_triton.variant = recorded
    register_plugins()
    register_plugins()  # does nothing
    answers = {
        "LogMel": log_mel(),
        "MelRvq": mel_rvq(stages=8, code_width=16),
        "too_large": too_large(),
        "asked": asked,
        "frames_of_a_program": log_mel_triton.FRAMES,
        "steps_of_a_program": mel_rvq_triton.variant().constants["BLOCK"],
    }
    Path(sys.argv[1]).write_text(json.dumps(answers))  # TensorRT logs to stdout


if __name__ == "__main__":
    main()
