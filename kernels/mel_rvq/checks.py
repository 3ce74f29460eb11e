"""What Mel-RVQ asks of its inputs, in PyTorch and in the fused kernel alike."""

import torch
from torch import Tensor

from ...errors import SessionError

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def steps_of(log_mel: Tensor, projection: Tensor, frames_per_step: int) -> int:
    """How many whole steps there are.

    Raises:
        SessionError: ``log_mel`` is of another rank, width or dtype than ``projection`` takes.
    """
    if log_mel.ndim != 3:
        raise SessionError(
            f"log_mel has shape {tuple(log_mel.shape)}; give it (batch, mels, frames)."
        )
    mels, width = log_mel.shape[1], projection.shape[1]
    if mels * frames_per_step != width:
        raise SessionError(
            f"{frames_per_step} frames of {mels} mels are {mels * frames_per_step} values a step; "
            f"this RVQ quantises {width}."
        )
    if log_mel.dtype not in _FLOATS or projection.dtype != torch.float32:
        raise SessionError(
            f"log_mel is {log_mel.dtype} and the tables are {projection.dtype}; give a log_mel in "
            "float32, float16 or bfloat16, and keep the tables in float32."
        )
    return log_mel.shape[2] // frames_per_step
