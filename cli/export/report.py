"""Certificates as tables for the terminal."""

from collections.abc import Sequence

from ...common.console import Table, table
from ...runtime.bundle.certificate import AnyMeasurement, RankMeasurement, TokenMeasurement
from ...runtime.bundle.manifest import Artefact
from ...runtime.bundle.tagging import TAGS

_COLUMNS = ["audio", "seconds", "output", "worst cosine", "relative L2", "largest"]


def parity_tables(artefacts: Sequence[Artefact]) -> list[Table]:
    """A table for each artefact that has a certificate."""
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
        tables.append(table(f"{artefact.name}, {artefact.precision}: {verdict}", columns, rows))
    return tables


def _row(measured: AnyMeasurement) -> list[str]:
    row = [measured.audio, f"{measured.seconds:.3f}", measured.output]
    if isinstance(measured, TokenMeasurement):
        return [*row, "", "", "", f"{measured.equal_tokens:.3%} of tokens"]
    if isinstance(measured, RankMeasurement):
        return [*row, "", "", "", f"{measured.equal_ranks:.3%} of {measured.pairs} ranks"]
    if measured.output == TAGS:  # probabilities, which only the largest difference judges
        return [*row, "", "", f"{measured.largest_difference:.1e}", ""]
    cosine, relative = f"{measured.worst_frame_cosine:.8f}", f"{measured.relative_l2:.1e}"
    return [*row, cosine, relative, f"{measured.largest_difference:.1e}", ""]
