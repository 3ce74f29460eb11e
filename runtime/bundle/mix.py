"""A mix of levels: a weighted sum of hidden states, as heads that read several are trained on."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from .output import Output
from .record import TensorSpec

MIX: Literal["mix"] = "mix"  # the output's name
# Far more than any real model has; they keep a hostile manifest from filling the memory.
_MOST_LEVELS = 1_000

Weight = Annotated[float, Field(allow_inf_nan=False)]


class Mix(Output):
    """What the ``mix`` output means: the sum of ``weights[i]`` times the hidden state at
    ``levels[i]``.

    Attributes:
        width: of a hidden state.
        levels: which are mixed, each once.
        weights: one for each level, as they are multiplied: a softmax is already taken.
    """

    output: ClassVar[str] = MIX
    key: ClassVar[str] = "mix"
    how_to_get: ClassVar[str] = (
        "this model has no mix of levels. Export it with one: "
        "muqrt export CHECKPOINT --mix 9-12 -o BUNDLE"
    )

    width: PositiveInt
    levels: Annotated[list[NonNegativeInt], Field(min_length=1, max_length=_MOST_LEVELS)]
    weights: list[Weight]

    @model_validator(mode="after")
    def _is_consistent(self) -> "Mix":
        twice = [level for level in self.levels if self.levels.count(level) > 1]
        if twice:
            raise ValueError(f"level {twice[0]} is in the mix twice")
        if len(self.weights) != len(self.levels):
            raise ValueError(f"{len(self.weights)} weights for {len(self.levels)} levels")
        return self

    @property
    def spec(self) -> TensorSpec:
        """The output: (batch, steps, width)."""
        return TensorSpec(name=MIX, dtype="float32", shape=["batch", "steps", self.width])

    def matches(self, found: TensorSpec) -> bool:
        """Whether the output is as wide as a hidden state, whatever its dtype."""
        return found.shape == self.spec.shape

    def summary(self, sample_rate_hz: int) -> list[str]:
        """The levels and their weights."""
        pairs = zip(self.levels, self.weights, strict=True)
        return [f"mix of levels: {', '.join(f'{level} x {weight:.4g}' for level, weight in pairs)}"]
