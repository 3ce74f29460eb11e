"""Scores: what the answers of a head that was trained elsewhere mean, and those of one track."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from .output import Output
from .record import Sha256, TensorSpec
from .tagging import Name

SCORES: Literal["scores"] = "scores"  # the output's name
# Far above any real head's; they keep a hostile manifest from filling the memory.
_MOST_SCORES = 10_000
_SHORTEST_WINDOW_SECONDS, _LONGEST_WINDOW_SECONDS = 1, 600
_NAMES_SHOWN = 12  # in the summary

Activation = Literal["none", "sigmoid", "softmax"]
WindowSeconds = Annotated[
    float, Field(ge=_SHORTEST_WINDOW_SECONDS, le=_LONGEST_WINDOW_SECONDS, allow_inf_nan=False)
]


class Scoring(Output):
    """What the ``scores`` output means.

    Attributes:
        labels: the scores' names, in the output's order.
        levels: the hidden states that the head reads.
        activation: what the head's last numbers went through.
        window_seconds: how much audio one answer is for; "whole" for a track in one window.
        head_sha256: hash of the head's shape and weights.
    """

    output: ClassVar[str] = SCORES
    key: ClassVar[str] = "scoring"
    optional: ClassVar[bool] = True
    how_to_get: ClassVar[str] = (
        "this model has no scores. Export it with a head that was trained elsewhere: muqrt export "
        "CHECKPOINT --head FILE -o BUNDLE; of its artefacts, PyTorch's have no scores."
    )

    labels: Annotated[list[Name], Field(min_length=1, max_length=_MOST_SCORES)]
    levels: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    activation: Activation
    window_seconds: WindowSeconds | Literal["whole"]
    head_sha256: Sha256

    @model_validator(mode="after")
    def _is_consistent(self) -> "Scoring":
        twice = [name for name in self.labels if self.labels.count(name) > 1]
        if twice:
            raise ValueError(f"the label {twice[0]!r} is there twice")
        return self

    @property
    def spec(self) -> TensorSpec:
        """The output: (batch, scores)."""
        return TensorSpec(name=SCORES, dtype="float32", shape=["batch", len(self.labels)])

    def matches(self, found: TensorSpec) -> bool:
        """Whether the output is as wide as there are labels, whatever its dtype."""
        return found.shape == self.spec.shape

    def summary(self, sample_rate_hz: int) -> list[str]:
        """The labels, and what the head reads."""
        names = ", ".join(self.labels[:_NAMES_SHOWN])
        more = len(self.labels) - _NAMES_SHOWN
        window = "whole tracks" if self.window_seconds == "whole" else f"{self.window_seconds:g} s"
        levels = ", ".join(map(str, self.levels))
        return [
            f"{len(self.labels)} scores: {names}{f' and {more} more' if more > 0 else ''}",
            f"of levels {levels}, windows of {window}, activation {self.activation}, head "
            f"{self.head_sha256[:12]}...",
        ]


@dataclass(frozen=True, eq=False)
class TrackScores:
    """The scores of one track.

    Attributes:
        scoring: their names.
        edges_seconds: float64 (windows + 1,); window i stands for edge i to edge i + 1.
        window_scores: float32 (windows, scores).
    """

    scoring: Scoring
    edges_seconds: np.ndarray
    window_scores: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Float32 (scores,): the mean of the windows, each weighted by the stretch it is for."""
        weights = np.diff(self.edges_seconds)
        mean: np.ndarray = np.average(self.window_scores, axis=0, weights=weights)
        return mean.astype(np.float32)

    def by_label(self) -> dict[str, float]:
        """Each score by its name, in the head's order."""
        return dict(zip(self.scoring.labels, self.scores.tolist(), strict=True))
