"""Certificates as tables for the terminal."""

from collections.abc import Iterator, Sequence

from ...common.console import Table
from ...runtime.bundle.certificate import (
    AnyMeasurement,
    Certificate,
    RankMeasurement,
    TokenMeasurement,
)
from ...runtime.bundle.manifest import Artefact
from ...runtime.parity.checks import checks

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
        where = artefact.certificate.where or "an unknown processor"
        title = f"{artefact.name}, {artefact.precision}: {verdict} on {where}"
        tables.append(Table(title, _CHECK_COLUMNS, list(_checks(artefact.certificate))))
        if verbose:
            tables.append(_every_measurement(artefact.certificate))
    return tables


def _checks(certificate: Certificate) -> Iterator[list[str]]:
    """A row for each figure of each output that a gate judges."""
    for each in checks(certificate):
        passed = "yes" if each.passed else "NO"
        yield [each.output, each.figure, each.value, each.gate, passed, each.audio]


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
