"""The parity certificate: proof that an artefact's numbers are the PyTorch reference's.

The thresholds stand here and nowhere else. They are gates: no option and no test loosens them.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .joint import LATENTS
from .tagging import TAGS
from .tokens import TOKENS

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "int8-weights", "int4-weights"]


class Thresholds(BaseModel):
    """What a precision must reach against the fp32 reference, on every audio.

    ``largest_tag_change`` is for the output ``tags``, ``equal_tokens``, a share, for the output
    ``tokens``, ``worst_latents_cosine`` and ``equal_ranks``, a share, for the output ``latents``,
    and the two others are for the rest: probabilities have no direction, and a change of one
    matters as much where all are small.
    """

    model_config = ConfigDict(frozen=True)

    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float
    equal_tokens: float
    worst_latents_cosine: float
    equal_ranks: float


_FULL = Thresholds(
    worst_frame_cosine=0.999999,
    relative_l2=1e-4,
    largest_tag_change=1e-4,
    equal_tokens=0.9999,
    worst_latents_cosine=0.99999,
    equal_ranks=0.9999,
)
_HALF = Thresholds(
    worst_frame_cosine=0.9995,
    relative_l2=2e-2,
    largest_tag_change=5e-3,
    equal_tokens=0.99,
    worst_latents_cosine=0.999,
    equal_ranks=0.99,
)
_EIGHT_BIT = Thresholds(
    worst_frame_cosine=0.99,
    relative_l2=8e-2,
    largest_tag_change=2e-2,
    equal_tokens=0.9999,  # tokens stay fp32 beside these
    worst_latents_cosine=0.99,
    equal_ranks=0.9,
)
# A token counts as equal whose code is farther than the best by no more than this part of the
# best's distance.
NEAR_TIE = 1e-5
# Cosines of music and texts that differ by no more than this in the reference have no order.
RANK_TIE = 1e-3

THRESHOLDS: dict[str, Thresholds] = {
    "fp32": _FULL,
    "fp16": _HALF,
    "bf16": _HALF,
    "int8": _EIGHT_BIT,
    "fp8": _EIGHT_BIT,
    "int8-weights": _EIGHT_BIT,
    "int4-weights": _EIGHT_BIT,
}


class Measurement(BaseModel):
    """One output of real numbers on one audio, artefact against reference.

    ``worst_frame_cosine`` is the smallest cosine similarity of any feature vector,
    ``relative_l2`` is ||artefact - reference|| / ||reference|| over the whole output,
    ``largest_difference`` that of any single number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio: str
    seconds: float
    output: str
    finite: bool
    worst_frame_cosine: float
    relative_l2: float
    largest_difference: float

    def passes(self, thresholds: Thresholds) -> bool:
        """Whether every figure is within the thresholds; a NaN or an infinity never is."""
        figures = (self.worst_frame_cosine, self.relative_l2, self.largest_difference)
        if not self.finite or not all(map(isfinite, figures)):
            return False
        if self.output == TAGS:
            return self.largest_difference <= thresholds.largest_tag_change
        if self.output == LATENTS:
            return self.worst_frame_cosine >= thresholds.worst_latents_cosine
        return (
            self.worst_frame_cosine >= thresholds.worst_frame_cosine
            and self.relative_l2 <= thresholds.relative_l2
        )


class TokenMeasurement(BaseModel):
    """The output ``tokens`` on one audio, artefact against reference.

    ``equal_tokens`` is the share of the ``tokens`` that are the reference's. One that differs
    counts as equal if its code is, but for ``NEAR_TIE``, as near as the reference's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio: str
    seconds: float
    output: Literal["tokens"] = TOKENS
    tokens: int
    equal_tokens: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

    def passes(self, thresholds: Thresholds) -> bool:
        """Whether there are tokens, and enough of them are equal."""
        return self.tokens > 0 and self.equal_tokens >= thresholds.equal_tokens


class RankMeasurement(BaseModel):
    """How texts rank for a piece of music, and music for a text, artefact against reference.

    ``equal_ranks`` is the share of the ``pairs`` whose order is the reference's; pairs whose
    cosines differ by no more than ``RANK_TIE`` there are not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio: str
    seconds: float
    output: Literal["latents"] = LATENTS
    pairs: Annotated[int, Field(ge=0)]
    equal_ranks: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

    def passes(self, thresholds: Thresholds) -> bool:
        """Whether enough of the pairs, where there are any, have the reference's order."""
        return self.pairs == 0 or self.equal_ranks >= thresholds.equal_ranks


AnyMeasurement = Measurement | TokenMeasurement | RankMeasurement


class Certificate(BaseModel):
    """What an artefact was compared with, on which audio, every figure, pass or fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision
    artefact_sha256: str
    reference: str
    created: str
    environment: dict[str, str]
    measurements: list[AnyMeasurement]
    passed: bool

    @property
    def worst(self) -> Thresholds:
        """The thresholds that these measurements would just pass."""
        numbers = [each for each in self.measurements if isinstance(each, Measurement)]
        others = [each for each in numbers if each.output not in (TAGS, LATENTS)]
        tags = [each for each in numbers if each.output == TAGS]
        latents = [each for each in numbers if each.output == LATENTS]
        tokens = [each for each in self.measurements if isinstance(each, TokenMeasurement)]
        ranks = [each for each in self.measurements if isinstance(each, RankMeasurement)]
        return Thresholds(
            worst_frame_cosine=min((each.worst_frame_cosine for each in others), default=1.0),
            relative_l2=max((each.relative_l2 for each in others), default=0.0),
            largest_tag_change=max((each.largest_difference for each in tags), default=0.0),
            equal_tokens=min((each.equal_tokens for each in tokens), default=1.0),
            worst_latents_cosine=min((each.worst_frame_cosine for each in latents), default=1.0),
            equal_ranks=min((each.equal_ranks for each in ranks), default=1.0),
        )

    @model_validator(mode="after")
    def _passed_follows_from_the_figures(self) -> "Certificate":
        if self.passed != certifies(self.precision, self.measurements):
            raise ValueError(
                f"the certificate says passed={self.passed}, its own figures say otherwise"
            )
        return self


def certifies(precision: Precision, measurements: Sequence[AnyMeasurement]) -> bool:
    """Whether these measurements earn a passing certificate: at least one, and all within."""
    thresholds = THRESHOLDS[precision]
    return bool(measurements) and all(each.passes(thresholds) for each in measurements)
