"""Certificates as tables for the terminal."""

from collections.abc import Sequence

from ...common.console import Table
from ...export.outputs.registry import output_named
from ...runtime.bundle.certificate import AnyMeasurement
from ...runtime.bundle.manifest import Artefact

_COLUMNS = ["audio", "seconds", "output", "worst cosine", "relative L2", "largest"]


def parity_tables(artefacts: Sequence[Artefact]) -> list[Table]:
    """Make a table for each artefact that has a certificate."""
    tables: list[Table] = []
    for artefact in artefacts:
        if artefact.certificate is None:
            continue
        rows = [_row(each) for each in artefact.certificate.measurements]
        columns = _COLUMNS
        if any(row[-1] for row in rows):
            columns = [*columns, "equal"]
        else:
            rows = [row[:-1] for row in rows]
        verdict = "passed" if artefact.certified else "FAILED"
        tables.append(Table(f"{artefact.name}, {artefact.precision}: {verdict}", columns, rows))
    return tables


def _row(measured: AnyMeasurement) -> list[str]:
    cells = output_named(measured.output).cells(measured)
    return [measured.audio, f"{measured.seconds:.3f}", measured.output, *cells]
