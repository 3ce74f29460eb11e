"""MelRvq in plain ONNX operators, as the local function ``muqrt::MelRvq``.

Finding the best of 1024 codes would take longer than computing how good each is: ONNX Runtime's
ArgMax and TopK look at one number after the other. So the codes are taken in blocks, about as many
as there are codes in each: first the best block by ReduceMax, which is vectorised, then the best
code of that block alone. Run after run, 30 s of audio take 3 ms at best on one thread of an AMD
EPYC (Zen 5), 15 ms with ArgMax, and 47 ms in the official PyTorch package.
"""

from math import isqrt

import onnx
from onnx import TensorProto, helper

from .onnx_nodes import DOMAIN, attribute_int, int64, node

NAME = "MelRvq"


def mel_rvq_function(opset: int, stages: int, codes: int, code_width: int) -> onnx.FunctionProto:
    """The function's body for tables of this shape.

    Inputs ``log_mel`` (batch, mels, frames) float32, normalised, at least one step long, and the
    four arrays of ``MelRvqTables``. Attribute ``frames_per_step``: how many frames, one after the
    other, are quantised as one step; the projection's width is as many times mels. Output
    ``tokens`` (batch, stages, frames // frames_per_step) int32: an incomplete last step is dropped,
    and among equally good codes the lowest is taken.
    """
    nodes = _latents()
    block = _codes_in_block(codes)
    nodes += int64(blocks=[0, 0, codes // block, block], block_codes=block, last_axis=[-1])
    for stage in range(stages):
        nodes += _token(stage, code_width)
        if stage + 1 < stages:
            nodes += _without(stage)
    nodes += [
        node("Concat", " ".join(f"token_{i}" for i in range(stages)), "last", axis=2),
        node("Transpose", "last", "all_tokens", perm=[0, 2, 1]),
        node("Cast", "all_tokens", "tokens", to=TensorProto.INT32),
    ]
    return helper.make_function(
        DOMAIN,
        NAME,
        inputs=["log_mel", "projection", "bias", "codebooks", "corrections"],
        outputs=["tokens"],
        nodes=nodes,
        opset_imports=[helper.make_opsetid("", opset)],
        attributes=["frames_per_step"],
        doc_string="Log-mel to the tokens of an RVQ: see muqrt/kernels/mel_rvq.py.",
    )


def _latents() -> list[onnx.NodeProto]:
    """``latents_0`` (batch, steps, stages * code_width): all stages', nothing subtracted yet."""
    return [
        *int64(first=[0], frame_axis=[2], cut=[0, 0, -1], stacked=[0, -1]),
        attribute_int("frames_per_step", "frames_per_step"),
        node("Unsqueeze", "frames_per_step first", "step"),
        node("Shape", "log_mel", "frames", start=2),
        node("Div", "frames step", "steps"),
        node("Mul", "steps step", "used"),
        node("Slice", "log_mel first used frame_axis", "whole"),
        node("Concat", "cut step", "cut_shape", axis=0),
        node("Reshape", "whole cut_shape", "by_step"),
        node("Transpose", "by_step", "frame_by_frame", perm=[0, 2, 3, 1]),
        node("Shape", "projection", "width", start=1),
        node("Concat", "stacked width", "stacked_shape", axis=0),
        node("Reshape", "frame_by_frame stacked_shape", "x"),
        node("Transpose", "projection", "weights", perm=[1, 0]),
        node("MatMul", "x weights", "projected"),
        node("Add", "projected bias", "latents_0"),
    ]


def _token(i: int, code_width: int) -> list[onnx.NodeProto]:
    """``token_i`` (batch, steps, 1), of the stage's code_width columns of ``latents_i``."""
    own = [i * code_width, (i + 1) * code_width]
    return [
        *int64(**{f"stage_{i}": i}),
        *int64(**{f"start_{i}": own[:1], f"stop_{i}": own[1:]}),
        node("Slice", f"latents_{i} start_{i} stop_{i} last_axis", f"latent_{i}"),
        node("Gather", f"codebooks stage_{i}", f"codebook_{i}", axis=0),
        node("Transpose", f"codebook_{i}", f"columns_{i}", perm=[1, 0]),
        node("MatMul", f"latent_{i} columns_{i}", f"flat_scores_{i}"),
        node("Reshape", f"flat_scores_{i} blocks", f"scores_{i}"),
        node("ReduceMax", f"scores_{i} last_axis", f"best_of_blocks_{i}", keepdims=0),
        node("ArgMax", f"best_of_blocks_{i}", f"block_{i}", axis=-1),
        node("GatherND", f"scores_{i} block_{i}", f"in_block_{i}", batch_dims=2),
        node("ArgMax", f"in_block_{i}", f"place_{i}", axis=-1),
        node("Mul", f"block_{i} block_codes", f"before_{i}"),
        node("Add", f"before_{i} place_{i}", f"token_{i}"),
    ]


def _without(i: int) -> list[onnx.NodeProto]:
    """``latents_i+1``: what the stage's code takes from the later stages is subtracted."""
    return [
        node("Gather", f"corrections stage_{i}", f"rows_{i}", axis=0),
        node("Squeeze", f"token_{i} last_axis", f"row_{i}"),
        node("Gather", f"rows_{i} row_{i}", f"taken_{i}", axis=0),
        node("Sub", f"latents_{i} taken_{i}", f"latents_{i + 1}"),
    ]


def _codes_in_block(codes: int) -> int:
    """The largest divisor of ``codes`` up to its square root."""
    return max(size for size in range(1, isqrt(codes) + 1) if codes % size == 0)
