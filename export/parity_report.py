"""Certificates as tables for the terminal."""

from collections.abc import Sequence

from ..console import table
from ..runtime.bundle import Artefact
from ..runtime.certificate import AnyMeasurement, TokenMeasurement
from ..runtime.tagging import TAGS


def parity_tables(artefacts: Sequence[Artefact], with_tokens: bool) -> list[object]:
    """A table for each artefact that has a certificate."""
    tables: list[object] = []
    for artefact in artefacts:
        if artefact.certificate is None:
            continue
        rows = [_row(each) for each in artefact.certificate.measurements]
        verdict = "passed" if artefact.certified else "FAILED"
        title = f"{artefact.name}, {artefact.precision}: {verdict}"
        columns = ["audio", "seconds", "output", "worst cosine", "relative L2", "largest"]
        if with_tokens:
            columns.append("equal tokens")
        tables.append(table(title, columns, rows))
    return tables


def _row(measured: AnyMeasurement) -> list[str]:
    row = [measured.audio, f"{measured.seconds:.3f}", measured.output]
    if isinstance(measured, TokenMeasurement):
        return [*row, "", "", "", f"{measured.equal_tokens:.3%}"]
    if measured.output == TAGS:  # probabilities, which only the largest difference judges
        return [*row, "", "", f"{measured.largest_difference:.1e}"]
    cosine, relative = f"{measured.worst_frame_cosine:.8f}", f"{measured.relative_l2:.1e}"
    return [*row, cosine, relative, f"{measured.largest_difference:.1e}"]
