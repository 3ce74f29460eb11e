"""The parity certificate: proof that an artefact's numbers are the PyTorch reference's.

The thresholds stand here and nowhere else. They are gates: no option and no test loosens them.
"""

from math import isfinite
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from .tagging import TAGS

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]


class Thresholds(BaseModel):
    """What a precision must reach against the fp32 reference, on every audio.

    ``largest_tag_change`` is for the output ``tags``, the two others are for the rest:
    probabilities have no direction, and a change of one matters as much where all are small.
    """

    model_config = ConfigDict(frozen=True)

    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float


_HALF = Thresholds(worst_frame_cosine=0.9995, relative_l2=2e-2, largest_tag_change=5e-3)
_EIGHT_BIT = Thresholds(worst_frame_cosine=0.99, relative_l2=8e-2, largest_tag_change=2e-2)

THRESHOLDS: dict[str, Thresholds] = {
    "fp32": Thresholds(worst_frame_cosine=0.999999, relative_l2=1e-4, largest_tag_change=1e-4),
    "fp16": _HALF,
    "bf16": _HALF,
    "int8": _EIGHT_BIT,
    "fp8": _EIGHT_BIT,
}


class Measurement(BaseModel):
    """One output on one audio, artefact against reference.

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
        return (
            self.worst_frame_cosine >= thresholds.worst_frame_cosine
            and self.relative_l2 <= thresholds.relative_l2
        )


class Certificate(BaseModel):
    """What an artefact was compared with, on which audio, every figure, pass or fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision
    artefact_sha256: str
    reference: str
    created: str
    environment: dict[str, str]
    measurements: list[Measurement]
    passed: bool

    @model_validator(mode="after")
    def _passed_follows_from_the_figures(self) -> "Certificate":
        if self.passed != certifies(self.precision, self.measurements):
            raise ValueError(
                f"the certificate says passed={self.passed}, its own figures say otherwise"
            )
        return self


def certifies(precision: Precision, measurements: list[Measurement]) -> bool:
    """Whether these measurements earn a passing certificate: at least one, and all within."""
    thresholds = THRESHOLDS[precision]
    return bool(measurements) and all(each.passes(thresholds) for each in measurements)
