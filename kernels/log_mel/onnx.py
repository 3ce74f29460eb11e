"""LogMel in plain ONNX operators, as the local function ``muqrt::LogMel``."""

import math

import onnx

from ..onnx_nodes import attribute_float, float32, int64, local_function, node
from . import contract as mel

NAME = "LogMel"


def log_mel_function(opset: int) -> onnx.FunctionProto:
    """The function's body.

    Inputs ``waveform`` (batch, samples) float32, more than 1024 samples, and ``tables``, as of
    tables.py: only the fused kernel reads them, where it takes this function's place.
    Output ``log_mel`` (batch, 128, samples // 240) float32: (dB - mean) / std. Attributes
    ``mean_db``, ``std_db``.
    """
    nodes = [
        *int64(hop=[mel.HOP_SAMPLES], window=[mel.WINDOW_SAMPLES], zero=[0], last=[-1]),
        *int64(pads=[0, mel.PAD_SAMPLES, 0, mel.PAD_SAMPLES]),
        *int64(phase_shape=[0, -1, mel.PHASES]),
        *int64(stage_shape=[0, 2 * mel.PHASES, -1]),
        *int64(bins_shape=[0, mel.PHASES * mel.COLUMNS, -1]),
        *float32(first=mel.first_stage(), second=mel.second_stage()),
        *float32(projection=mel.mel_projection(), floor=mel.FLOOR),
        *float32(decibels_per_neper=10 / math.log(10)),
        # As many whole frames as the waveform has hops: the STFT's last frame is dropped.
        node("Shape", "waveform", "samples", start=1),
        node("Div", "samples hop", "frames"),
        node("Sub", "frames hop_count", "hops_between"),
        node("Mul", "hops_between hop", "span"),
        node("Add", "span window", "used"),
        node("Pad", "waveform pads", "padded", mode="reflect"),
        node("Slice", "padded zero used last", "framed"),
        node("Reshape", "framed phase_shape", "rows"),
        node("Transpose", "rows", "phases", perm=[0, 2, 1]),
        node(
            "Conv",
            "phases first",
            "columns",
            group=mel.PHASES,
            strides=[mel.HOP_SAMPLES // mel.PHASES],
        ),
        node("Reshape", "columns stage_shape", "flat_columns"),
        node("MatMul", "second flat_columns", "spectrum"),
        node("Split", "spectrum", "real imaginary", axis=1, num_outputs=2),
        node("Mul", "real real", "real_power"),
        node("Mul", "imaginary imaginary", "imaginary_power"),
        node("Add", "real_power imaginary_power", "flat_power"),
        node("Reshape", "flat_power bins_shape", "power"),
        node("MatMul", "projection power", "mel_power"),
        node("Max", "mel_power floor", "floored"),
        node("Log", "floored", "nepers"),
        node("Mul", "nepers decibels_per_neper", "decibels"),
        attribute_float("mean_db", "mean"),
        attribute_float("std_db", "std"),
        node("Sub", "decibels mean", "centred"),
        node("Div", "centred std", "log_mel"),
    ]
    return local_function(
        NAME,
        inputs=["waveform", "tables"],
        outputs=["log_mel"],
        nodes=[*int64(hop_count=[1]), *nodes],
        opset=opset,
        attributes=["mean_db", "std_db"],
        description="Waveform to normalised log-mel: see muqrt/kernels/log_mel/contract.py.",
    )
