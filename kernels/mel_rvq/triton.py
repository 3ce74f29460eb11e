"""MelRvq fused into one kernel in the Triton language.

A program takes ``BLOCK`` steps of one row. It reads their frames where they lie, without a stacked
copy, and keeps the latents of all stages in registers; each codebook passes through shared memory.
A search compares element by element, block of codes by block, and looks across threads only once,
at its end. Products are of float32 accuracy on tensor cores: three of operands split in two TF32.

For the released model's 8 stages of 1024 codes of 16, a thread takes at most 150 registers on sm_80
to sm_120, none spilled, and a program 41 KB of shared memory: 48 KiB are to be had without asking.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...errors import KernelError
from ..launch import DTYPES, launch
from ..variant import Variant
from .checks import steps_of

MAX_LATENTS = 512  # of all stages together; more of them are more than the registers hold
BLOCK = 16  # steps of a program


@triton.jit
def mel_rvq_kernel(
    log_mel: tl.tensor,
    projection: tl.tensor,
    bias: tl.tensor,
    codebooks: tl.tensor,
    corrections: tl.tensor,
    frames: tl.tensor,
    steps: tl.tensor,
    tokens: tl.tensor,
    MELS: tl.constexpr,
    FRAMES_PER_STEP: tl.constexpr,
    STAGES: tl.constexpr,
    CODES: tl.constexpr,
    CODE_WIDTH: tl.constexpr,
    PADDED_STAGES: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
    CODE_BLOCK: tl.constexpr,
) -> None:
    """(batch, MELS, frames) and the tables to (batch, STAGES, steps), all contiguous.

    Its grid is (cdiv(steps, BLOCK), batch).
    """
    row = tl.program_id(1).to(tl.int64)
    step = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    present = step < steps
    padded = tl.arange(0, PADDED_STAGES * PADDED_WIDTH)
    latent = padded // PADDED_WIDTH * CODE_WIDTH + padded % PADDED_WIDTH
    used = (latent < STAGES * CODE_WIDTH) & (padded % PADDED_WIDTH < CODE_WIDTH)
    first_frame = log_mel + row * MELS * frames + step * FRAMES_PER_STEP
    WIDTH: tl.constexpr = MELS * FRAMES_PER_STEP
    projected = _project(
        first_frame, present, frames, projection, latent, used, MELS, WIDTH, BLOCK, WIDTH_BLOCK
    )
    projected += tl.load(bias + latent, used, 0.0)[:, None]
    latents = tl.reshape(projected, (PADDED_STAGES, PADDED_WIDTH, BLOCK))
    stage_axis = tl.arange(0, PADDED_STAGES)[:, None, None]
    width_axis = tl.arange(0, PADDED_WIDTH)[None, :, None]
    for stage in range(STAGES):
        own = tl.sum(tl.where(stage_axis == stage, latents, 0.0), axis=0)
        codebook = codebooks + stage * CODES * CODE_WIDTH
        token = _nearest(own, codebook, CODES, CODE_WIDTH, PADDED_WIDTH, BLOCK, CODE_BLOCK)
        tl.store(tokens + (row * STAGES + stage) * steps + step, token, present)
        code = (stage * CODES + token)[None, None, :]
        taken = code * (STAGES * CODE_WIDTH) + stage_axis * CODE_WIDTH + width_axis
        later = (stage_axis > stage) & (stage_axis < STAGES) & (width_axis < CODE_WIDTH)
        latents -= tl.load(corrections + taken, later, 0.0)


@triton.jit
def _project(
    first_frame: tl.tensor,
    present: tl.tensor,
    frames: tl.tensor,
    projection: tl.tensor,
    latent: tl.tensor,
    used: tl.tensor,
    MELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
) -> tl.tensor:
    """Pointers to each step's first frame, and the projection's rows, to (rows, BLOCK)."""
    total = tl.zeros((latent.shape[0], BLOCK), tl.float32)
    for start in range(0, WIDTH, WIDTH_BLOCK):
        k = start + tl.arange(0, WIDTH_BLOCK)
        inside = k < WIDTH
        place = (k % MELS).to(tl.int64) * frames + k // MELS  # k is frame * MELS + mel
        x = tl.load(first_frame[None, :] + place[:, None], inside[:, None] & present[None, :], 0.0)
        weights = tl.load(
            projection + latent[:, None] * WIDTH + k[None, :], used[:, None] & inside[None, :], 0.0
        )
        total += tl.dot(weights, x.to(tl.float32), input_precision="tf32x3")
    return total


@triton.jit
def _nearest(
    latent: tl.tensor,
    codebook: tl.tensor,
    CODES: tl.constexpr,
    CODE_WIDTH: tl.constexpr,
    PADDED_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    CODE_BLOCK: tl.constexpr,
) -> tl.tensor:
    """(PADDED_WIDTH, BLOCK) to the code of the largest product, (BLOCK,); of equals the lowest."""
    width_axis = tl.arange(0, PADDED_WIDTH)[None, :]
    best = tl.full((CODE_BLOCK, BLOCK), float("-inf"), tl.float32)
    best_code = tl.zeros((CODE_BLOCK, BLOCK), tl.int32)
    for start in range(0, CODES, CODE_BLOCK):
        code = start + tl.arange(0, CODE_BLOCK)[:, None]
        present = (code < CODES) & (width_axis < CODE_WIDTH)
        units = tl.load(codebook + code * CODE_WIDTH + width_axis, present, 0.0)
        similarity = tl.dot(units, latent, input_precision="tf32x3")
        nearer = (similarity > best) & (code < CODES)
        best = tl.where(nearer, similarity, best)
        best_code = tl.where(nearer, code, best_code)
    # A latent that is not finite is nearer to nothing, and gets code 0.
    equal = best == tl.max(best, axis=0)[None, :]
    return tl.min(tl.where(equal, best_code, CODES), axis=0)


def variant(
    dtype: str = "fp32",
    token_dtype: str = "i32",
    mels: int = 128,
    frames_per_step: int = 4,
    stages: int = 8,
    codes: int = 1024,
    code_width: int = 16,
) -> Variant:
    """``mel_rvq_kernel`` for an RVQ of this shape; the released model's by default.

    Args:
        dtype: of the input, "fp32", "fp16" or "bf16".
        token_dtype: "i32" or "i16".
        mels, frames_per_step, stages, codes, code_width: as in ``MelRvqTables``.

    Raises:
        KernelError: other token dtypes, codes that int16 cannot count, or more latents than the
            kernel holds.
    """
    if token_dtype not in ("i32", "i16"):
        raise KernelError(
            f"The kernel does not write {token_dtype}; ask for int32 or int16 tokens."
        )
    if token_dtype == "i16" and codes > 1 << 15:
        raise KernelError(f"int16 cannot count {codes} codes; ask for int32 tokens.")
    padded_stages = triton.next_power_of_2(stages)
    padded_width = max(16, triton.next_power_of_2(code_width))  # a dot takes no fewer
    latents = padded_stages * padded_width
    if latents > MAX_LATENTS:
        raise KernelError(
            f"{stages} stages of {code_width}-wide codes are {latents} latents when both are "
            f"padded to powers of two; the fused kernel holds {MAX_LATENTS}. Use the plain module."
        )
    constants = {
        "MELS": mels,
        "FRAMES_PER_STEP": frames_per_step,
        "STAGES": stages,
        "CODES": codes,
        "CODE_WIDTH": code_width,
        "PADDED_STAGES": padded_stages,
        "PADDED_WIDTH": padded_width,
        "BLOCK": BLOCK,
        "WIDTH_BLOCK": 32 if latents <= 128 else 16,
        "CODE_BLOCK": max(16, 2048 // padded_width),
    }
    floats = ("projection", "bias", "codebooks", "corrections")
    signature = {"log_mel": f"*{dtype}", **dict.fromkeys(floats, "*fp32")}
    signature |= {"frames": "i32", "steps": "i32", "tokens": f"*{token_dtype}"}
    return Variant(
        f"mel_rvq_{dtype}_{token_dtype}",
        mel_rvq_kernel,
        signature,
        constants,
        frozenset(signature) - {"frames", "steps"},
        num_warps=4 if latents <= 128 else 8,
        num_stages=3,
    )


def mel_rvq(
    log_mel: Tensor,
    tables: Sequence[Tensor],
    frames_per_step: int,
    dtype: torch.dtype = torch.int32,
) -> Tensor:
    """Tokens, by the kernel.

    Args:
        log_mel: (batch, mels, frames), normalised; or any latent (batch, width, steps), of one
            frame a step. float32, float16 or bfloat16, with any strides.
        tables: projection, bias, codebooks and corrections of ``MelRvqTables``, contiguous and on
            the input's device.
        frames_per_step: frames that are quantised together, in sequence.
        dtype: of the tokens, int32 or int16.

    Returns:
        (batch, stages, frames // frames_per_step); the lowest of equally near codes.

    Raises:
        SessionError: the input is not what the tables were made for, or of more than 65535 rows.
        KernelError: as ``variant``.
    """
    projection, _, codebooks, _ = tables
    steps = steps_of(log_mel, projection, frames_per_step)
    batch, mels, frames = log_mel.shape
    stages, codes, code_width = codebooks.shape
    shape = (mels, frames_per_step, stages, codes, code_width)
    chosen = variant(DTYPES[log_mel.dtype], DTYPES.get(dtype, str(dtype)), *shape)
    tokens = torch.empty((batch, stages, steps), dtype=dtype, device=log_mel.device)
    grid = (triton.cdiv(steps, BLOCK), batch)
    launch(chosen, grid, log_mel.contiguous(), *tables, frames, steps, tokens)
    return tokens
