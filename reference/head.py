"""A probe's head: from a model's hidden states to the answer to one task."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, FiniteFloat, PositiveInt
from torch import Tensor, nn

from ..errors import CheckpointError
from .stored import load_module, save_module

STATISTICS = 2  # of a level: its mean over time, and its deviation
# Keeps the root's gradient finite where nothing changes.
SMALLEST_VARIANCE = 1e-6
_NAME = "head"  # of its files
Kind = Literal["class", "multilabel", "regression"]


@dataclass(frozen=True)
class HeadConfig:
    """What a head answers, and of which model's hidden states.

    Attributes:
        task: its name, such as "tagging".
        kind: one of several labels; any of them; or numbers, which the labels then name.
        labels: what the outputs mean, in order.
        levels: which hidden states are mixed; a single one is taken as it is.
        width: of a hidden state.
        hidden: neurons between input and output; none is a linear head.
        per_step: an answer for every stretch of steps, or one for all of them.
        thresholds: of a multilabel head, above which probability each label counts.
        groups: of a multilabel head: labels of which one holds at most, such as slow, moderate and
            fast; they follow one another in ``labels``.
        window_seconds: how much audio an answer was trained on.
        model_sha256: the checkpoint's, whose hidden states these are.
        figures: what was measured when it was trained.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    task: str
    kind: Kind
    labels: list[str]
    levels: list[Annotated[int, Field(ge=0)]]
    width: PositiveInt
    hidden: Annotated[int, Field(ge=0)] = 0
    per_step: bool = False
    thresholds: list[FiniteFloat] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    window_seconds: FiniteFloat = 10.0
    model_sha256: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels or not self.levels:
            raise CheckpointError(f"head {self.task!r}: it needs labels and levels.")
        if self.thresholds and len(self.thresholds) != len(self.labels):
            raise CheckpointError(
                f"head {self.task!r}: {len(self.thresholds)} thresholds for "
                f"{len(self.labels)} labels."
            )
        places = group_places(self.labels, self.groups)
        if places is None or (self.groups and self.kind != "multilabel"):
            raise CheckpointError(
                f"head {self.task!r}: groups {self.groups} are not runs of the labels of a "
                "multilabel head, each label once."
            )

    @property
    def places(self) -> list[slice]:
        """Where in the labels each group is, and between them each label that is in none, in order:
        one ``slice`` each."""
        found = group_places(self.labels, self.groups)
        assert found is not None
        return found


def group_places(labels: Sequence[str], groups: Sequence[Sequence[str]]) -> list[slice] | None:
    """See ``HeadConfig.places``; None where a group is not a run of two labels or more."""
    found, place, left = [], 0, [list(group) for group in groups]
    while place < len(labels):
        here = [each for each in left if each == list(labels[place : place + len(each)])]
        size = len(here[0]) if here else 1
        left = [each for each in left if each not in here]
        if here and size < 2:
            return None
        found.append(slice(place, place + size))
        place += size
    return None if left else found


def probabilities(logits: Tensor, places: Sequence[slice]) -> Tensor:
    """A multilabel head's probabilities (..., labels).

    Those of a group, and what is left over for none of them, sum to 1: a softmax over its logits
    and 0. For a label of its own that is the sigmoid.
    """
    if all(place.stop - place.start == 1 for place in places):
        return logits.sigmoid()
    parts = []
    for place in places:
        part = logits[..., place]
        if place.stop - place.start == 1:
            parts.append(part.sigmoid())
        else:
            none = torch.zeros_like(part[..., :1])
            parts.append(torch.cat([part, none], -1).softmax(-1)[..., :-1])
    return torch.cat(parts, -1)


class Head(nn.Module):
    """Mix the levels, standardise, and answer by a linear layer or a small perceptron.

    The mixture is a softmax over learned weights, as in SUPERB (arXiv 2105.01051) and MARBLE
    (arXiv 2306.10548). Standardising by the training data's own mean and deviation comes before
    the first layer, so that one learning rate suits every model's features.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: HeadConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.level_weights = nn.Parameter(torch.zeros(len(config.levels)))
        inputs = STATISTICS * config.width
        self.register_buffer("mean", torch.zeros(len(config.levels), inputs))
        self.register_buffer("deviation", torch.ones(len(config.levels), inputs))
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(inputs, config.hidden) if config.hidden else nn.Identity()
        self.output = nn.Linear(config.hidden or inputs, len(config.labels))

    def forward(self, states: Tensor) -> Tensor:
        """Logits, or the numbers of a regression.

        Args:
            states: (..., levels, 2 * width), the hidden states at ``config.levels``, pooled.

        Returns:
            (..., labels).
        """
        mixed = self.mix((states - self.mean) / self.deviation)
        if self.config.hidden:
            mixed = torch.relu(self.hidden(self.dropout(mixed)))
        return self.output(self.dropout(mixed))

    def probabilities(self, states: Tensor) -> Tensor:
        """Probabilities (..., labels) of a multilabel head; arguments as for ``forward``."""
        return probabilities(self(states), self.config.places)

    def mix(self, states: Tensor) -> Tensor:
        """(..., levels, 2 * width) -> (..., 2 * width)."""
        return torch.einsum("...lw,l->...w", states, self.level_weights.softmax(0))


def pooled(states: Tensor) -> Tensor:
    """Mean and deviation over time: (..., steps, width) -> (..., 2 * width)."""
    # Not var_mean: ExecuTorch does not know it.
    variance = states.var(-2, correction=0)
    return torch.cat([states.mean(-2), (variance + SMALLEST_VARIANCE).sqrt()], -1)


def save_head(head: Head, folder: Path) -> None:
    """Write ``head.json`` and ``head.safetensors``; the folder is replaced whole."""
    save_module(head, head.config, folder, _NAME)


def load_head(folder: Path) -> Head:
    """Load a head in eval mode.

    Raises:
        CheckpointError: not a head's folder, or weights that are not those of its configuration.
    """
    head, _ = load_module(folder, _NAME, HeadConfig, Head, counts=())
    return head
