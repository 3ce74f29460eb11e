"""MelRvq in plain ONNX operators, as the local function ``muqrt::MelRvq``.

Finding the best of 1024 codes would take longer than computing how good each is: ONNX Runtime's
ArgMax and TopK look at one number after the other. So the codes are taken in blocks: first the best
block by ReduceMax, which is vectorised, then the best code of that block alone. Run after run, 30 s
of audio take 3 ms at best on one thread of an AMD EPYC (Zen 5), and 15 ms with ArgMax.
"""

import onnx
from onnx import TensorProto

from ..onnx_nodes import attribute_int, int64, local_function, node

NAME = "MelRvq"
_MAX_BLOCK_CODES = 64  # measured for 1024 codes; 16 and 32 are 5 to 15 % slower


def mel_rvq_function(opset: int, stages: int, codes: int, code_width: int) -> onnx.FunctionProto:
    """The function's body for tables of this shape.

    Inputs ``log_mel`` (batch, mels, frames) float32, normalised, at least one step long, and the
    four arrays of ``MelRvqTables``. Attribute ``frames_per_step``: how many frames, one after the
    other, are quantised as one step; the projection's width is as many times mels. Output
    ``tokens`` (batch, stages, frames // frames_per_step) int32: an incomplete last step is dropped,
    and among equally good codes the lowest is taken.
    """
    block = _codes_in_block(codes)
    nodes = _latents()
    nodes += int64(
        blocks=[0, 0, codes // block, block],
        block_codes=block,
        last_axis=[-1],
        rows_of_blocks=[codes // block, block, -1],
    )
    for stage in range(stages):
        later = stages - stage - 1
        nodes += _own_latent(stage, code_width, later)
        nodes += _token(stage)
        if later:
            nodes += _without(stage, code_width)
    nodes += [
        node("Concat", " ".join(f"block_{i}" for i in range(stages)), "all_blocks", axis=2),
        node("Concat", " ".join(f"place_{i}" for i in range(stages)), "all_places", axis=2),
        node("Mul", "all_blocks block_codes", "codes_before"),
        node("Add", "codes_before all_places", "last"),
        node("Transpose", "last", "all_tokens", perm=[0, 2, 1]),
        node("Cast", "all_tokens", "tokens", to=TensorProto.INT32),
    ]
    return local_function(
        NAME,
        inputs=["log_mel", "projection", "bias", "codebooks", "corrections"],
        outputs=["tokens"],
        nodes=nodes,
        opset=opset,
        attributes=["frames_per_step"],
        description="Log-mel to the tokens of an RVQ: see muqrt/kernels/mel_rvq/contract.py.",
    )


def _latents() -> list[onnx.NodeProto]:
    """``latents_0`` (batch, steps, stages * code_width): all stages', nothing subtracted yet."""
    return [
        *int64(first=[0], frame_axis=[1], cut=[0, -1]),
        attribute_int("frames_per_step", "frames_per_step"),
        node("Unsqueeze", "frames_per_step first", "step"),
        node("Shape", "log_mel", "frames", start=2),
        node("Div", "frames step", "steps"),
        node("Mul", "steps step", "used"),
        node("Transpose", "log_mel", "frame_by_frame", perm=[0, 2, 1]),
        node("Slice", "frame_by_frame first used frame_axis", "whole"),
        node("Shape", "projection", "width", start=1),
        node("Concat", "cut width", "stacked_shape", axis=0),
        node("Reshape", "whole stacked_shape", "x"),
        node("Transpose", "projection", "weights", perm=[1, 0]),
        node("MatMul", "x weights", "projected"),
        node("Add", "projected bias", "latents_0"),
    ]


def _own_latent(i: int, code_width: int, later: int) -> list[onnx.NodeProto]:
    """``latent_i`` (batch, steps, code_width) and the ``later`` stages' ``rest_i``."""
    if not later:
        return [node("Identity", f"latents_{i}", f"latent_{i}")]
    return [
        *int64(**{f"widths_{i}": [code_width, later * code_width]}),
        node("Split", f"latents_{i} widths_{i}", f"latent_{i} rest_{i}", axis=-1),
    ]


def _token(i: int) -> list[onnx.NodeProto]:
    """``block_i`` and ``place_i`` (batch, steps, 1): where the code nearest to ``latent_i`` is."""
    return [
        *int64(**{f"stage_{i}": i}),
        node("Gather", f"codebooks stage_{i}", f"codebook_{i}", axis=0),
        node("Transpose", f"codebook_{i}", f"columns_{i}", perm=[1, 0]),
        node("MatMul", f"latent_{i} columns_{i}", f"flat_scores_{i}"),
        node("Reshape", f"flat_scores_{i} blocks", f"scores_{i}"),
        node("ReduceMax", f"scores_{i} last_axis", f"best_of_blocks_{i}", keepdims=0),
        node("ArgMax", f"best_of_blocks_{i}", f"block_{i}", axis=-1),
        node("GatherND", f"scores_{i} block_{i}", f"in_block_{i}", batch_dims=2),
        node("ArgMax", f"in_block_{i}", f"place_{i}", axis=-1),
    ]


def _without(i: int, code_width: int) -> list[onnx.NodeProto]:
    """``latents_i+1``: ``rest_i`` without what the stage's code takes from the later stages."""
    return [
        *int64(**{f"later_{i}": [(i + 1) * code_width], f"end_{i}": [2**31 - 1]}),
        node("Gather", f"corrections stage_{i}", f"rows_{i}", axis=0),
        node("Slice", f"rows_{i} later_{i} end_{i} last_axis", f"later_rows_{i}"),
        node("Reshape", f"later_rows_{i} rows_of_blocks", f"blocks_of_rows_{i}"),
        node("Concat", f"block_{i} place_{i}", f"code_{i}", axis=-1),
        node("GatherND", f"blocks_of_rows_{i} code_{i}", f"taken_{i}"),
        node("Sub", f"rest_{i} taken_{i}", f"latents_{i + 1}"),
    ]


def _codes_in_block(codes: int) -> int:
    """The largest divisor of ``codes`` up to ``_MAX_BLOCK_CODES``."""
    return max(size for size in range(1, _MAX_BLOCK_CODES + 1) if codes % size == 0)
