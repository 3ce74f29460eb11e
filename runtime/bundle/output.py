"""An output that needs explaining: what one record of the manifest says of it."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from typing import ClassVar

from .record import Record, TensorSpec


@dataclass(frozen=True)
class Gate:
    """A figure of a parity measurement, and the threshold that it must reach.

    Attributes:
        figure: name of the measurement's field.
        threshold: name of the field in ``Thresholds``.
        at_least: whether the figure is good when large; otherwise it must be at most the threshold.
        share_of: for a figure that is a share, name of the field with the number that it is a share
            of: the shares of all audio are one share, so that the length of an excerpt, and what
            one item is of its share, makes no difference.
    """

    figure: str
    threshold: str
    at_least: bool = True
    share_of: str | None = None

    def passes(self, figure: float, threshold: float) -> bool:
        """Whether the figure is within the threshold."""
        return figure >= threshold if self.at_least else figure <= threshold

    def worst(self, measured: Sequence[object]) -> float:
        """The threshold that these measurements would just pass."""
        figures = [getattr(each, self.figure) for each in measured]
        if self.share_of is not None:
            counts = [getattr(each, self.share_of) for each in measured]
            # Exact: the share of one audio alone stays the number that it is.
            parts = map(mul, map(Fraction, figures), counts)
            return float(sum(parts) / sum(counts)) if any(counts) else 1.0
        return min(figures, default=1.0) if self.at_least else max(figures, default=0.0)


class Output(Record):
    """What one of a model's outputs means. Subclasses are registered in ``meanings.OUTPUTS``.

    Attributes:
        output: the output's name.
        key: the record's name in ``bundle.json`` and, after "muqrt.", among a server's parameters.
        how_to_get: for a model without it: what is missing, and how to export it.
        optional: whether an artefact may lack the output although the bundle explains it.
        always_listed: whether a manifest has the key where there is no such output, too.
        gates: the figures that its numbers are certified by; these are the features' too.
    """

    output: ClassVar[str]
    key: ClassVar[str]
    how_to_get: ClassVar[str]
    optional: ClassVar[bool] = False
    always_listed: ClassVar[bool] = False
    gates: ClassVar[tuple[Gate, ...]] = (
        Gate("worst_frame_cosine", "worst_frame_cosine"),
        Gate("relative_l2", "relative_l2", at_least=False),
    )

    @property
    @abstractmethod
    def spec(self) -> TensorSpec:
        """The output's name, dtype and shape."""

    def summary(self, sample_rate_hz: int) -> list[str]:
        """Lines for people about a model that takes audio at this rate; none by default."""
        return []

    @property
    def from_frames(self) -> bool:
        """Whether the encoder gives it from the front end's frames of overlapping windows."""
        return True

    def matches(self, found: TensorSpec) -> bool:
        """Whether an artefact's output of this name is the one explained."""
        return found == self.spec
