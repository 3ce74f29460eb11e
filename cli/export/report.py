"""Certificates as tables for the terminal."""

from collections.abc import Iterator, Sequence

from ...common.console import Table
from ...runtime.bundle.certificate import (
    THRESHOLDS,
    AnyMeasurement,
    Certificate,
    RankMeasurement,
    TokenMeasurement,
)
from ...runtime.bundle.manifest import Artefact
from ...runtime.bundle.output import Gate

_CHECK_COLUMNS = ["output", "check", "worst", "gate", "passed", "worst on"]
_COLUMNS = ["audio", "seconds", "output", "worst cosine", "relative L2", "largest"]


def parity_tables(artefacts: Sequence[Artefact], verbose: bool = False) -> list[Table]:
    """Make a table for each artefact that has a certificate: a row for each check.

    Args:
        artefacts: the artefacts.
        verbose: add a table with a row for each output on each audio.
    """
    tables: list[Table] = []
    for artefact in artefacts:
        if artefact.certificate is None:
            continue
        verdict = "passed" if artefact.certified else "FAILED"
        title = f"{artefact.name}, {artefact.precision}: {verdict}"
        tables.append(Table(title, _CHECK_COLUMNS, list(_checks(artefact.certificate))))
        if verbose:
            tables.append(_every_measurement(artefact.certificate))
    return tables


def _checks(certificate: Certificate) -> Iterator[list[str]]:
    """A row for each figure of each output that a gate judges."""
    by_check: dict[tuple[str, Gate], list[AnyMeasurement]] = {}
    for each in certificate.measurements:
        for gate in each.gates:
            by_check.setdefault((each.output, gate), []).append(each)
    thresholds = THRESHOLDS[certificate.precision]
    for (output, gate), measured in by_check.items():
        worst, threshold = gate.worst(measured), getattr(thresholds, gate.threshold)
        passed = all(each.sound for each in measured) and gate.passes(worst, threshold)
        figures = [getattr(each, gate.figure) for each in measured]
        place = figures.index(min(figures) if gate.at_least else max(figures))
        yield [
            output,
            gate.figure.replace("_", " "),
            f"{worst:.8f}" if gate.at_least else f"{worst:.1e}",
            f"at least {threshold:g}" if gate.at_least else f"at most {threshold:g}",
            "yes" if passed else "NO",
            measured[place].audio,
        ]


def _every_measurement(certificate: Certificate) -> Table:
    rows = [_row(each) for each in certificate.measurements]
    if any(row[-1] for row in rows):
        return Table("", [*_COLUMNS, "equal"], rows)
    return Table("", _COLUMNS, [row[:-1] for row in rows])


def _row(measured: AnyMeasurement) -> list[str]:
    return [measured.audio, f"{measured.seconds:.3f}", measured.output, *_cells(measured)]


def _cells(measured: AnyMeasurement) -> list[str]:
    """Worst cosine, relative L2, largest difference, share; those that the gate does not judge
    are left empty, but for the largest difference."""
    if isinstance(measured, RankMeasurement):
        return ["", "", "", f"{measured.equal_ranks:.3%} of {measured.pairs} ranks"]
    if isinstance(measured, TokenMeasurement):
        return ["", "", "", f"{measured.equal_tokens:.3%} of tokens"]
    largest = f"{measured.largest_difference:.1e}"
    if all(gate.figure != "worst_frame_cosine" for gate in measured.gates):
        return ["", "", largest, ""]
    return [f"{measured.worst_frame_cosine:.8f}", f"{measured.relative_l2:.1e}", largest, ""]
