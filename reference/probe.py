"""A probe that another project trained: levels mixed, their mean over time, a small perceptron."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Mixture = Literal["mean", "softmax", "plain"]


@dataclass(frozen=True)
class ProbeConfig:
    """The shape of a probe.

    Attributes:
        levels: the hidden states that it reads.
        widths: of a hidden state, of each hidden layer, and of its answer.
        mixture: how levels are mixed: their mean, or by learned weights, a softmax of them or the
            plain ones with a bias.
    """

    levels: list[int]
    widths: list[int]
    mixture: Mixture = "mean"


class Probe(nn.Module):
    """Linear layers with ReLU between them, on the mean over time of a mix of levels.

    Both of MARBLE's probes (arXiv 2306.10548) have this shape, whatever their names for it.
    """

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.levels)
        if config.mixture != "mean":
            self.level_weights = nn.Parameter(torch.zeros(count))
        if config.mixture == "plain":
            self.level_bias = nn.Parameter(torch.zeros(1))
        pairs = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairs)

    @property
    def levels(self) -> list[int]:
        """The hidden states that it reads."""
        return self.config.levels

    @property
    def width(self) -> int:
        """The width of a hidden state."""
        return self.config.widths[0]

    def mixing(self) -> tuple[Tensor, Tensor]:
        """What each level is multiplied by (levels,), and what is added to their sum (1,)."""
        count, bias = len(self.levels), torch.zeros(1)
        if self.config.mixture == "mean":
            return torch.full((count,), 1 / count), bias
        if self.config.mixture == "softmax":
            return self.level_weights.softmax(0), bias
        return self.level_weights, self.level_bias

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Hidden states (batch, steps, width) at ``levels`` -> (batch, outputs)."""
        weights, bias = self.mixing()
        means = torch.stack([state.mean(1) for state in states], -1)
        x = means @ weights + bias
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        answer: Tensor = self.layers[-1](x)
        return answer
