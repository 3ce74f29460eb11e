"""Mel-RVQ, the tokenizer whose codes MuQ is trained to predict (paper section 3.2)."""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError

HIDDEN_WIDTH = 128  # of the projections that have more than one layer


class WeightNormConv1d(nn.Module):
    """A width-1 convolution with weight norm, stored under the names ``weight_g``, ``weight_v``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        initial = nn.Conv1d(in_channels, out_channels, 1)
        direction = initial.weight.detach().clone()
        assert initial.bias is not None
        self.bias = nn.Parameter(initial.bias.detach().clone())
        self.weight_g = nn.Parameter(direction.norm(dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(direction)

    @property
    def weight(self) -> Tensor:
        """(out_channels, in_channels, 1)."""
        norm = self.weight_v.norm(dim=(1, 2), keepdim=True)
        return self.weight_v * (self.weight_g / norm)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, steps) -> (batch, out_channels, steps)."""
        # As a convolution it takes seven times as long to train on a CPU.
        return F.linear(x.transpose(1, 2), self.weight[:, :, 0], self.bias).transpose(1, 2)


class VectorQuantize(nn.Module):
    """One stage: project down, take the code nearest by cosine, project it back up."""

    stale_counter: Tensor

    def __init__(self, width: int, codes: int, code_width: int, layers: int = 1) -> None:
        super().__init__()
        self.in_proj = _projection([width, *[HIDDEN_WIDTH] * (layers - 1), code_width], False)
        self.out_proj = _projection([code_width, *[HIDDEN_WIDTH] * (layers - 1), width], True)
        self.codebook = nn.Embedding(codes, code_width)
        self.register_buffer("stale_counter", torch.zeros(codes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width, steps) -> reconstruction of that shape and tokens (batch, steps)."""
        tokens = self.nearest(self.in_proj(x))
        return self.from_tokens(tokens), tokens

    def nearest(self, latent: Tensor) -> Tensor:
        """The code nearest by cosine: (batch, code_width, steps) -> (batch, steps)."""
        codes = F.normalize(self.codebook.weight)
        return (F.normalize(latent.transpose(1, 2), dim=-1) @ codes.T).argmax(-1)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """What codes stand for: int (batch, steps) -> (batch, width, steps)."""
        reconstruction: Tensor = self.out_proj(self.codebook(tokens).transpose(1, 2))
        return reconstruction


class ResidualVectorQuantize(nn.Module):
    """Stages in sequence, each quantizing what the earlier ones left."""

    def __init__(self, width: int, stages: int, codes: int, code_width: int, layers: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(
            VectorQuantize(width, codes, code_width, layers) for _ in range(stages)
        )

    @property
    def stages(self) -> list[VectorQuantize]:
        """The quantizers, typed."""
        return cast(list[VectorQuantize], list(self.quantizers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width, steps) -> reconstruction and tokens (batch, stages, steps)."""
        residual, tokens = x, []
        for quantizer in self.quantizers:
            quantized, stage = quantizer(residual)
            residual = residual - quantized
            tokens.append(stage)
        return x - residual, torch.stack(tokens, dim=1)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """What tokens stand for: the sum of their stages' reconstructions.

        Args:
            tokens: int (batch, stages, steps); the first few stages alone give a coarser answer.

        Returns:
            (batch, width, steps), what ``forward`` gives as the reconstruction.

        Raises:
            UsageError: tokens of another shape, of more stages than there are, or beyond the codes.
        """
        stages, codes = len(self.stages), self.stages[0].codebook.num_embeddings
        if tokens.dim() != 3 or not 1 <= tokens.shape[1] <= stages:
            raise UsageError(
                f"tokens of shape {tuple(tokens.shape)}; expected (batch, stages, steps) with 1 to "
                f"{stages} stages."
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < codes:
            raise UsageError(
                f"tokens from {int(tokens.min())} to {int(tokens.max())}; this RVQ's codes are 0 "
                f"to {codes - 1}."
            )
        parts = zip(self.stages, tokens.long().unbind(1), strict=False)
        return torch.stack([stage.from_tokens(chosen) for stage, chosen in parts]).sum(0)


class RandomProjectionQuantizer(nn.Module):
    """BEST-RQ's fixed random target, which MuQ's Mel-RVQ replaces; some checkpoints carry it."""

    random_projection: Tensor
    codebook: Tensor

    def __init__(self, width: int, code_width: int, codes: int) -> None:
        super().__init__()
        self.register_buffer(
            "random_projection", nn.init.xavier_normal_(torch.empty(width, code_width))
        )
        self.register_buffer("codebook", torch.randn(codes, code_width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> tokens (batch, steps)."""
        latent = F.normalize(x @ self.random_projection, dim=-1)
        return (latent @ F.normalize(self.codebook).T).argmax(-1)


def stacked(log_mel: Tensor, frames_per_step: int) -> Tensor:
    """What Mel-RVQ quantizes: (batch, mels, frames) -> (batch, frames_per_step * mels, steps).

    A step's frames follow in sequence, each with all its mels; an incomplete step is dropped.
    """
    steps = log_mel.shape[-1] // frames_per_step
    frames = log_mel[..., : steps * frames_per_step].unflatten(-1, (steps, frames_per_step))
    return frames.permute(0, 3, 1, 2).flatten(1, 2)


def unstacked(x: Tensor, frames_per_step: int) -> Tensor:
    """Undo ``stacked``: (batch, frames_per_step * mels, steps) -> (batch, mels, frames)."""
    return x.unflatten(1, (frames_per_step, -1)).permute(0, 2, 3, 1).flatten(2, 3)


def decibels_from_tokens(
    rvq: ResidualVectorQuantize,
    tokens: Tensor,
    frames_per_step: int,
    mean_db: float,
    std_db: float,
) -> Tensor:
    """The log-mel in dB that a Mel-RVQ's tokens stand for.

    Args:
        rvq: of stacked mels, ``frames_per_step`` at a time, normalised by ``mean_db``, ``std_db``.
        tokens: int (batch, stages, steps); fewer stages than the RVQ's give a coarser mel.

    Returns:
        (batch, mels, steps * frames_per_step).

    Raises:
        UsageError: tokens that are none of this RVQ's.
    """
    return unstacked(rvq.from_tokens(tokens), frames_per_step) * std_db + mean_db


def _projection(widths: list[int], activation_leads: bool) -> nn.Module:
    """One layer, or several with ReLUs between, nested and numbered as upstream numbers them."""
    layers = [WeightNormConv1d(a, b) for a, b in pairwise(widths)]
    if len(layers) == 1:
        return layers[0]
    first, *middle, last = layers
    if activation_leads:
        between = [nn.Sequential(layer, nn.ReLU()) for layer in middle]
        return nn.Sequential(first, nn.ReLU(), *between, last)
    between = [nn.Sequential(nn.ReLU(), layer) for layer in middle]
    return nn.Sequential(first, *between, nn.ReLU(), last)
