"""What Mel-RVQ's tokens stand for, as a kernel in the Triton language: the way back from MelRvq."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...errors import SessionError
from ..launch import DTYPES, launch
from ..variant import Variant

_BLOCK = 16  # steps of a program
_WIDTH_BLOCK = 64  # of a quantised vector


@triton.jit
def quantized_kernel(
    tokens: tl.tensor,
    reconstructions: tl.tensor,
    steps: tl.tensor,
    quantized: tl.tensor,
    STAGES: tl.constexpr,
    CODES: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH_BLOCK: tl.constexpr,
) -> None:
    """(batch, STAGES, steps) to (batch, WIDTH, steps), both contiguous.

    Its grid is (cdiv(steps, BLOCK), batch, cdiv(WIDTH, WIDTH_BLOCK)).
    """
    row = tl.program_id(1).to(tl.int64)
    step = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = (tl.program_id(2) * WIDTH_BLOCK + tl.arange(0, WIDTH_BLOCK))[:, None]
    inside = (k < WIDTH) & (step < steps)[None, :]
    total = tl.zeros((WIDTH_BLOCK, BLOCK), tl.float32)
    for stage in range(STAGES):
        token = tl.load(tokens + (row * STAGES + stage) * steps + step, step < steps, 0)
        code = (stage * CODES + token)[None, :]
        total += tl.load(reconstructions + code * WIDTH + k, inside, 0.0)
    tl.store(quantized + (row * WIDTH + k) * steps + step[None, :], total, inside)


def variant(token_dtype: str, width: int, stages: int, codes: int) -> Variant:
    """``quantized_kernel`` for an RVQ of this shape and tokens in "i32" or "i16"."""
    signature = {"tokens": f"*{token_dtype}", "reconstructions": "*fp32"}
    signature |= {"steps": "i32", "quantized": "*fp32"}
    return Variant(
        f"mel_rvq_quantized_{token_dtype}",
        quantized_kernel,
        signature,
        {
            "STAGES": stages,
            "CODES": codes,
            "WIDTH": width,
            "BLOCK": _BLOCK,
            "WIDTH_BLOCK": _WIDTH_BLOCK,
        },
        frozenset(signature) - {"steps"},
    )


def quantized(tokens: Tensor, reconstructions: Tensor) -> Tensor:
    """Each step's codes, projected back and summed over the stages.

    Args:
        tokens: (batch, stages, steps) int32 or int16, with any strides.
        reconstructions: (stages, codes, width) float32, contiguous: ``mel_rvq.reconstructions``.

    Returns:
        (batch, width, steps) float32. Of stacked mels, row ``q * mels + f`` is mel ``f`` of the
        step's frame ``q``.

    Raises:
        SessionError: tokens of another rank, number of stages or dtype, or more than 65535 rows.
    """
    stages, codes, width = reconstructions.shape
    right = tokens.ndim == 3 and tokens.shape[1] == stages
    if not right or tokens.dtype not in (torch.int32, torch.int16):
        raise SessionError(
            f"tokens are {tokens.dtype} of shape {tuple(tokens.shape)}; this RVQ's are int32 or "
            f"int16, (batch, {stages}, steps)."
        )
    batch, _, steps = tokens.shape
    out = torch.empty((batch, width, steps), dtype=torch.float32, device=tokens.device)
    chosen = variant(DTYPES[tokens.dtype], width, stages, codes)
    grid = (triton.cdiv(steps, _BLOCK), batch, triton.cdiv(width, _WIDTH_BLOCK))
    launch(chosen, grid, tokens.contiguous(), reconstructions, steps, out)
    return out
