"""Which matrix products of an artefact are computed in 8 bits, and why."""

from typing import Literal

from pydantic import Field

from ..record import Record


class QuantizedSite(Record):
    """Matrix products of the model that were quantized, or left as they are.

    ``worst_frame_cosine`` and ``relative_l2`` say what quantizing them alone does to the features.
    """

    name: str
    int8: bool
    macs_per_step: int = Field(ge=0)
    worst_frame_cosine: float
    relative_l2: float


class Quantization(Record):
    """How an artefact in int8 or fp8 was made.

    Attributes:
        calibrated_on: the music whose activations gave the ranges.
        calibrated_seconds: length of that music.
        accuracy: the worst frame cosine that was asked for; None asks for the gate's.
        sites: every candidate, in the order of the computation.
        format: the 8-bit format if it is not int8; a site's ``int8`` says whether it is quantized.
    """

    calibrated_on: list[str]
    calibrated_seconds: float
    accuracy: float | None
    sites: list[QuantizedSite]
    format: Literal["fp8"] | None = None

    @property
    def share(self) -> float:
        """The share of the candidates' multiplications that is int8."""
        total = sum(site.macs_per_step for site in self.sites)
        return sum(site.macs_per_step for site in self.sites if site.int8) / max(total, 1)

    def summary(self) -> str:
        """One line for people."""
        kept = [site.name for site in self.sites if not site.int8]
        names = f"; wider stay: {', '.join(kept)}" if kept else ""
        form = self.format or "int8"
        return f"{self.share:.1%} of the matrix products' multiplications are {form}{names}."
