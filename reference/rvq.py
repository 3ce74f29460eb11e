"""Mel-RVQ, the tokenizer whose codes MuQ is trained to predict (paper section 3.2)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        return self.out_proj(self.codebook(tokens).transpose(1, 2)), tokens

    def nearest(self, latent: Tensor) -> Tensor:
        """The code nearest by cosine: (batch, code_width, steps) -> (batch, steps)."""
        codes = F.normalize(self.codebook.weight)
        return (F.normalize(latent.transpose(1, 2), dim=-1) @ codes.T).argmax(-1)


class ResidualVectorQuantize(nn.Module):
    """Stages in sequence, each quantizing what the earlier ones left."""

    def __init__(self, width: int, stages: int, codes: int, code_width: int, layers: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(
            VectorQuantize(width, codes, code_width, layers) for _ in range(stages)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width, steps) -> reconstruction and tokens (batch, stages, steps)."""
        residual, tokens = x, []
        for quantizer in self.quantizers:
            quantized, stage = quantizer(residual)
            residual = residual - quantized
            tokens.append(stage)
        return x - residual, torch.stack(tokens, dim=1)


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
