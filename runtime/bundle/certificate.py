"""The parity certificate: proof that an artefact's numbers are the PyTorch reference's.

The thresholds stand here and nowhere else. They are gates: no option and no test loosens them.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .joint import LATENTS
from .meanings import every_gate, gates_of
from .output import Gate
from .tokens import TOKENS

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "int8-weights", "int4-weights"]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Thresholds(BaseModel):
    """What a precision must reach against the fp32 reference, on every audio.

    ``largest_tag_change`` is for the output ``tags``, ``equal_tokens``, a share, for the output
    ``tokens``, ``worst_latents_cosine`` and ``equal_ranks``, a share, for the output ``latents``,
    and the two others are for the rest: probabilities have no direction, and a change of one
    matters as much where all are small. Shares are of all audio together.
    """

    model_config = ConfigDict(frozen=True)

    worst_frame_cosine: float
    relative_l2: float
    largest_tag_change: float
    equal_tokens: float
    worst_latents_cosine: float
    equal_ranks: float


_TABLE = {
    # full precision, 16 bits, 8 bits and fewer
    "worst_frame_cosine": (0.999999, 0.9995, 0.99),
    "relative_l2": (1e-4, 2e-2, 8e-2),
    "largest_tag_change": (1e-4, 5e-3, 2e-2),
    "equal_tokens": (0.9999, 0.99, 0.9999),  # tokens stay fp32 beside 8 bits
    "worst_latents_cosine": (0.99999, 0.999, 0.99),
    "equal_ranks": (0.9999, 0.99, 0.9),
}
_FULL, _HALF, _EIGHT_BIT = (
    Thresholds(**dict(zip(_TABLE, column, strict=True)))
    for column in zip(*_TABLE.values(), strict=True)
)
# A code is as near as the nearest one if the reference, in float64, would take it after a rounding
# error this many times its own in fp32: its own, and one as large of another fp32 program.
TIE_ERRORS = 2.0
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


class _Measured(BaseModel):
    """One output on one audio, artefact against reference; subclasses have the figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio: str
    seconds: float
    output: str

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Those of the output whose figures are measured here."""
        return tuple(each for each in gates_of(self.output) if hasattr(self, each.figure))

    @property
    def sound(self) -> bool:
        """Whether there is anything to judge, and all of it numbers."""
        return bool(self.gates)

    def passes(self, thresholds: Thresholds) -> bool:
        """Whether this measurement alone is within the thresholds."""
        return _within([self], thresholds)


class Measurement(_Measured):
    """One output of real numbers on one audio, artefact against reference.

    ``worst_frame_cosine`` is the smallest cosine similarity of any feature vector,
    ``relative_l2`` is ||artefact - reference|| / ||reference|| over the whole output,
    ``largest_difference`` that of any single number.
    """

    finite: bool
    worst_frame_cosine: float
    relative_l2: float
    largest_difference: float

    @property
    def sound(self) -> bool:
        """Whether all is numbers: a NaN or an infinity never passes."""
        figures = (self.worst_frame_cosine, self.relative_l2, self.largest_difference)
        return self.finite and all(map(isfinite, figures)) and super().sound


class TokenMeasurement(_Measured):
    """The output ``tokens`` on one audio, artefact against reference.

    ``equal_tokens`` is the share of the ``tokens`` that are the reference's. One that differs
    counts as equal if rounding explains it: see ``TIE_ERRORS``.
    """

    output: Literal["tokens"] = TOKENS
    tokens: int
    equal_tokens: _Share

    @property
    def sound(self) -> bool:
        """Whether there are tokens."""
        return self.tokens > 0


class RankMeasurement(_Measured):
    """How texts rank for a piece of music, and music for a text, artefact against reference.

    ``equal_ranks`` is the share of the ``pairs`` whose order is the reference's; pairs whose
    cosines differ by no more than ``RANK_TIE`` there are not counted.
    """

    output: Literal["latents"] = LATENTS
    pairs: Annotated[int, Field(ge=0)]
    equal_ranks: _Share


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
    def where(self) -> str:
        """The processor, as far as it is known, and how if its engine did not run there."""
        cpu, how = self.environment.get("cpu", ""), self.environment.get("interpreted")
        return cpu if how is None else f"{cpu}, interpreted: {how}"

    @property
    def worst(self) -> Thresholds:
        """The thresholds that these measurements would just pass."""
        return Thresholds(
            **{gate.threshold: gate.worst(_of(gate, self.measurements)) for gate in every_gate()}
        )

    @model_validator(mode="after")
    def _passed_follows_from_the_figures(self) -> "Certificate":
        # One that failed by an older, stricter gate stays failed until parity is measured again.
        if self.passed and not certifies(self.precision, self.measurements):
            raise ValueError(
                f"the certificate says passed={self.passed}, its own figures say otherwise"
            )
        return self


def certifies(precision: Precision, measurements: Sequence[AnyMeasurement]) -> bool:
    """Whether these measurements earn a passing certificate: at least one, and all within."""
    return _within(measurements, THRESHOLDS[precision])


def _within(measurements: Sequence[_Measured], thresholds: Thresholds) -> bool:
    gates = {gate for each in measurements for gate in each.gates}
    return (
        bool(measurements)
        and all(each.sound for each in measurements)
        and all(
            gate.passes(gate.worst(_of(gate, measurements)), getattr(thresholds, gate.threshold))
            for gate in gates
        )
    )


def _of(gate: Gate, measurements: Sequence[_Measured]) -> list[_Measured]:
    return [each for each in measurements if gate in each.gates]
