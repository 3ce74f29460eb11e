"""LogMel in plain ONNX operators, as the local function ``muqrt::LogMel``."""

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import log_mel as mel

DOMAIN = "muqrt"
NAME = "LogMel"


def log_mel_function(opset: int) -> onnx.FunctionProto:
    """The function's body.

    Input ``waveform`` (batch, samples) float32, more than 1024 samples. Output ``log_mel``
    (batch, 128, samples // 240) float32: (dB - mean) / std. Attributes ``mean_db``, ``std_db``.
    """
    nodes = [
        *_int64(hop=[mel.HOP_SAMPLES], window=[mel.WINDOW_SAMPLES], zero=[0], last=[-1]),
        *_int64(pads=[0, mel.PAD_SAMPLES, 0, mel.PAD_SAMPLES]),
        *_int64(phase_shape=[0, -1, mel.PHASES]),
        *_int64(stage_shape=[0, 2 * mel.PHASES, -1]),
        *_int64(bins_shape=[0, mel.PHASES * mel.COLUMNS, -1]),
        *_float32(first=mel.first_stage(), second=mel.second_stage()),
        *_float32(projection=mel.mel_projection(), floor=mel.FLOOR),
        *_float32(decibels_per_neper=10 / math.log(10)),
        # As many whole frames as the waveform has hops: the STFT's last frame is dropped.
        _node("Shape", "waveform", "samples", start=1),
        _node("Div", "samples hop", "frames"),
        _node("Sub", "frames hop_count", "hops_between"),
        _node("Mul", "hops_between hop", "span"),
        _node("Add", "span window", "used"),
        _node("Pad", "waveform pads", "padded", mode="reflect"),
        _node("Slice", "padded zero used last", "framed"),
        _node("Reshape", "framed phase_shape", "rows"),
        _node("Transpose", "rows", "phases", perm=[0, 2, 1]),
        _node(
            "Conv",
            "phases first",
            "columns",
            group=mel.PHASES,
            strides=[mel.HOP_SAMPLES // mel.PHASES],
        ),
        _node("Reshape", "columns stage_shape", "flat_columns"),
        _node("MatMul", "second flat_columns", "spectrum"),
        _node("Split", "spectrum", "real imaginary", axis=1, num_outputs=2),
        _node("Mul", "real real", "real_power"),
        _node("Mul", "imaginary imaginary", "imaginary_power"),
        _node("Add", "real_power imaginary_power", "flat_power"),
        _node("Reshape", "flat_power bins_shape", "power"),
        _node("MatMul", "projection power", "mel_power"),
        _node("Max", "mel_power floor", "floored"),
        _node("Log", "floored", "nepers"),
        _node("Mul", "nepers decibels_per_neper", "decibels"),
        _attribute("mean_db", "mean"),
        _attribute("std_db", "std"),
        _node("Sub", "decibels mean", "centred"),
        _node("Div", "centred std", "log_mel"),
    ]
    return helper.make_function(
        DOMAIN,
        NAME,
        inputs=["waveform"],
        outputs=["log_mel"],
        nodes=[*_int64(hop_count=[1]), *nodes],
        opset_imports=[helper.make_opsetid("", opset)],
        attributes=["mean_db", "std_db"],
        doc_string="Waveform to normalised log-mel: see muqrt/kernels/log_mel.py.",
    )


def _node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def _attribute(attribute: str, output: str) -> onnx.NodeProto:
    """A scalar constant whose value is the calling node's attribute."""
    node = helper.make_node("Constant", [], [output])
    reference = node.attribute.add(name="value_float", ref_attr_name=attribute)
    reference.type = onnx.AttributeProto.FLOAT
    return node


def _int64(**values: list[int]) -> list[onnx.NodeProto]:
    return [_constant(name, np.array(value, dtype=np.int64)) for name, value in values.items()]


def _float32(**values: float | np.ndarray) -> list[onnx.NodeProto]:
    return [_constant(name, np.asarray(value, dtype=np.float32)) for name, value in values.items()]


def _constant(name: str, value: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
