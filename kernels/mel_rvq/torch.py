"""MelRvq for PyTorch: an operator that runs on every device, compiles and exports."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import steps_of
from .contract import MelRvqTables


@torch.library.custom_op("muqrt::mel_rvq", mutates_args=())
def mel_rvq(
    log_mel: Tensor,
    projection: Tensor,
    bias: Tensor,
    codebooks: Tensor,
    corrections: Tensor,
    frames_per_step: int,
) -> Tensor:
    """The tokens of an RVQ, in float32 also under autocast; one fused kernel on CUDA.

    Only an RVQ with linear projections has tables. One with more layers
    (``rvq_multi_layer_num`` above 1) cannot be folded, and stays the plain module it is.

    Args:
        log_mel: (batch, mels, frames), normalised; or any latent (batch, width, steps), of one
            frame a step. float32, float16 or bfloat16.
        projection, bias, codebooks, corrections: those of ``MelRvqTables``, float32.
        frames_per_step: frames that are quantised together, in sequence.

    Returns:
        (batch, stages, frames // frames_per_step) int32; the lowest of equally near codes.

    Raises:
        SessionError: ``log_mel`` is not what the tables were made for.
        KernelError: on CUDA, more stages or wider codes than the kernel holds.
    """
    steps = steps_of(log_mel, projection, frames_per_step)
    frames = log_mel[..., : steps * frames_per_step].unflatten(-1, (steps, frames_per_step))
    tokens = []
    with torch.autocast(log_mel.device.type, enabled=False):
        x = frames.permute(0, 2, 3, 1).flatten(2).float()
        latents = F.linear(x, projection, bias)
        for stage, codebook in enumerate(codebooks):
            latent = latents.unflatten(-1, (len(codebooks), -1))[..., stage, :]
            tokens.append((latent @ codebook.T).argmax(-1))
            latents = latents - corrections[stage][tokens[-1]]
    return torch.stack(tokens, dim=1).int()


@mel_rvq.register_kernel("cuda")
def _fused(log_mel: Tensor, *tables_and_step: Any) -> Tensor:
    from . import triton as mel_rvq_triton  # only machines with CUDA are sure to have it

    *tables, frames_per_step = tables_and_step
    return mel_rvq_triton.mel_rvq(log_mel, tuple(tables), frames_per_step)


@mel_rvq.register_fake
def _shape(log_mel: Tensor, *tables_and_step: Any) -> Tensor:
    projection, _, codebooks, _, frames_per_step = tables_and_step
    steps = steps_of(log_mel, projection, frames_per_step)
    shape = (log_mel.shape[0], codebooks.shape[0], steps)
    return log_mel.new_empty(shape, dtype=torch.int32)


class MelRvq(nn.Module):
    """The operator with its tables.

    Args:
        tables: of an RVQ with linear projections.
        frames_per_step: frames that are quantised together.
    """

    projection: Tensor
    bias: Tensor
    codebooks: Tensor
    corrections: Tensor

    def __init__(self, tables: MelRvqTables, frames_per_step: int) -> None:
        super().__init__()
        self.frames_per_step = frames_per_step
        for name, table in vars(tables).items():
            self.register_buffer(name, torch.from_numpy(table))

    def forward(self, log_mel: Tensor) -> Tensor:
        """(batch, mels, frames) to tokens (batch, stages, steps) int32."""
        tables = (self.projection, self.bias, self.codebooks, self.corrections)
        return mel_rvq(log_mel, *tables, self.frames_per_step)
