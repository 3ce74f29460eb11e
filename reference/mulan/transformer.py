"""The transformer on top of each encoder: pre-norm, normalised queries and keys, GEGLU.

Names of weights are upstream's, among them the numbers of ``nn.Sequential``.
"""

import torch.nn.functional as F
from torch import Tensor, nn, ones

from .config import TransformerConfig

# Queries and keys have length one, so their products are multiplied rather than divided.
ATTENTION_SCALE = 8.0


class LayerNorm(nn.Module):
    """Layer norm with a scale and without a bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.learned_gamma = nn.Parameter(ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> the same shape."""
        return F.layer_norm(x, x.shape[-1:], self.learned_gamma)


class GEGLU(nn.Module):
    """The first half of the channels, gated by the second (arXiv 2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., 2 * width) -> (..., width)."""
        values, gate = x.chunk(2, dim=-1)
        return values * F.gelu(gate)


class FeedForward(nn.Sequential):
    """Norm, linear, GEGLU, linear."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(
            LayerNorm(config.dim),
            nn.Linear(config.dim, 2 * config.ff_dim, bias=False),
            GEGLU(),
            nn.Dropout(config.ff_dropout),
            nn.Linear(config.ff_dim, config.dim, bias=False),
        )


class Attention(nn.Module):
    """Multi-head attention whose queries and keys are l2-normalised, then scaled by channel
    (arXiv 2010.04245, 2302.05442)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.heads * config.dim_head
        self.heads = config.heads
        self.norm = LayerNorm(config.dim)
        self.to_q = nn.Linear(config.dim, width, bias=False)
        self.to_kv = nn.Linear(config.dim, 2 * width, bias=False)
        self.q_scale = nn.Parameter(ones(config.dim_head))
        self.k_scale = nn.Parameter(ones(config.dim_head))
        self.dropout = nn.Dropout(config.attn_dropout)
        # The official package drops out attention and output with the same probability.
        self.to_out = nn.Sequential(
            nn.Linear(width, config.dim, bias=False), nn.Dropout(config.attn_dropout)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, steps, width) -> the same shape.

        Args:
            x: (batch, steps, width).
            mask: (batch, steps) bool, False at steps without attention.
        """
        x = self.norm(x)
        key, value = (self._split(half) for half in self.to_kv(x).chunk(2, dim=-1))
        query = F.normalize(self._split(self.to_q(x)), dim=-1) * self.q_scale
        key = F.normalize(key, dim=-1) * self.k_scale
        scores = query @ key.transpose(-2, -1) * ATTENTION_SCALE
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        mixed = self.dropout(scores.softmax(dim=-1)) @ value
        return self.to_out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """Layers of attention and feed-forward, each added to its input. No positions, no last norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(config), FeedForward(config)]) for _ in range(config.tf_depth)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, steps, width) -> the same shape; ``mask`` as Attention's."""
        for layer in self.layers:
            attention, feed_forward = layer.children()
            x = x + attention(x, mask)
            x = x + feed_forward(x)
        return x
