"""Kernels in the Triton language, run on PyTorch's tensors."""

from typing import Any

import torch

from ..errors import SessionError
from .variant import Variant

MAX_BATCH = 65_535  # rows of a CUDA grid
DTYPES = {  # as Triton names them
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int32: "i32",
    torch.int16: "i16",
}


def launch(chosen: Variant, grid: tuple[int, ...], *arguments: Any) -> None:
    """Run a variant on its output's device; the output comes last and ``grid[1]`` counts rows.

    Raises:
        SessionError: more than 65535 rows.
    """
    if grid[1] > MAX_BATCH:
        raise SessionError(f"{grid[1]} rows at once; split the batch, the most is {MAX_BATCH}.")
    options = {"num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
    if arguments[-1].numel():
        with torch.cuda.device_of(arguments[-1]):
            chosen.kernel[grid](*arguments, **chosen.constants, **options)
