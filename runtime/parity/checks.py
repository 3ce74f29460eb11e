"""A certificate's checks: each figure that a gate judges, with its worst value and what it must
reach."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..bundle.certificate import THRESHOLDS, AnyMeasurement, Certificate
from ..bundle.output import Gate


@dataclass(frozen=True)
class Check:
    """One figure of one output, over all audio.

    Attributes:
        output: name of the output.
        figure: what was measured, in words.
        at_least: whether the figure has to be at least the threshold; at most otherwise.
        worst: its worst value, a share that of all audio together.
        threshold: what it must reach.
        passed: whether it does.
        audio: where it was worst.
    """

    output: str
    figure: str
    at_least: bool
    worst: float
    threshold: float
    passed: bool
    audio: str

    @property
    def value(self) -> str:
        """The worst value, as text."""
        return f"{self.worst:.8f}" if self.at_least else f"{self.worst:.1e}"

    @property
    def gate(self) -> str:
        """What it must reach, as text."""
        return f"{'at least' if self.at_least else 'at most'} {self.threshold:g}"


def checks(certificate: Certificate) -> Iterator[Check]:
    """The checks of a certificate, in the order of its measurements."""
    by_check: dict[tuple[str, Gate], list[AnyMeasurement]] = {}
    for each in certificate.measurements:
        for gate in each.gates:
            by_check.setdefault((each.output, gate), []).append(each)
    thresholds = THRESHOLDS[certificate.precision]
    for (output, gate), measured in by_check.items():
        worst, threshold = gate.worst(measured), getattr(thresholds, gate.threshold)
        figures = [getattr(each, gate.figure) for each in measured]
        place = figures.index(min(figures) if gate.at_least else max(figures))
        yield Check(
            output=output,
            figure=gate.figure.replace("_", " "),
            at_least=gate.at_least,
            worst=worst,
            threshold=threshold,
            passed=all(each.sound for each in measured) and gate.passes(worst, threshold),
            audio=measured[place].audio,
        )
