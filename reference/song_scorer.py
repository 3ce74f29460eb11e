"""SongEval's head: how listeners would rate a whole song, from 1 to 5."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SPAN, MIDDLE = 2.0, 3.0  # a score is SPAN * tanh(x) + MIDDLE


@dataclass(frozen=True)
class SongScorerConfig:
    """The shape of a head.

    Attributes:
        levels: the hidden state that it reads, alone in a list.
        width: of a hidden state.
        inner: of the perceptron in front.
        layers: of attention.
        heads: of each of these layers.
        outputs: how many scores it gives.
    """

    levels: list[int]
    width: int
    inner: int
    layers: int
    heads: int
    outputs: int


class SongScorer(nn.Module):
    """A perceptron for each step, attention layers above it without norms or shortcuts, and a
    linear layer over the mean of what they give and the maximum of what they read.

    The names of its weights are SongEval's (arXiv 2505.10793).
    """

    def __init__(self, config: SongScorerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.attn = nn.ModuleList(
            nn.MultiheadAttention(width, config.heads, batch_first=True)
            for _ in range(config.layers)
        )
        self.ffd = nn.Sequential(
            nn.Linear(width, config.inner), nn.ReLU(), nn.Linear(config.inner, width)
        )
        self.fc = nn.Linear(2 * width, config.outputs)

    @property
    def levels(self) -> list[int]:
        """The hidden state that it reads, alone in a list."""
        return self.config.levels

    @property
    def width(self) -> int:
        """The width of a hidden state."""
        return self.config.width

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """The hidden state (batch, steps, width), alone in a list -> (batch, outputs)."""
        (state,) = states
        below = x = self.ffd(state)
        for layer in self.attn:
            x, _ = layer(x, x, x, need_weights=False)
        pooled = torch.cat([x.mean(1), below.amax(1)], -1)
        return SPAN * self.fc(pooled).tanh() + MIDDLE
