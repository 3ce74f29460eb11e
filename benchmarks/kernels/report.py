"""The kernels' benchmark as JSON, Markdown and a table for the terminal."""

import json
from dataclasses import asdict
from pathlib import Path

from ...common.files import atomic_file
from ..model.tables import Table
from ..style import markdown_table
from .run import KernelReport

_COLUMNS = (
    *("operation", "contender", "batch x s", "median, ms", "p10 to p90, ms", "times eager"),
    *("share of floor", "launches", "agreement"),
)
_METHOD = (
    "The contenders took turns on the same music, after a first call each whose answer had to be "
    "eager's: *agreement* is the share of equal tokens, near ties included, or a log-mel's "
    "relative L2 distance. "
    "*times eager* is the median over the rounds of eager's seconds over the contender's. *share "
    "of floor* is the least time for the bytes and operations below, at this device's measured "
    "ceilings, over the median."
)


def result_table(report: KernelReport) -> Table:
    """A row for each contender on each operation and input."""
    rows = [
        [
            each.operation,
            each.contender,
            f"{each.batch} x {each.window_seconds:g}",
            f"{each.median_seconds * 1000:.3g}",
            f"{each.p10_seconds * 1000:.3g} to {each.p90_seconds * 1000:.3g}",
            f"{each.speedup:.2f}",
            "" if each.share_of_floor is None else f"{each.share_of_floor:.0%}",
            "" if each.launches is None else str(each.launches),
            f"{each.agreement:.2g}" if each.agreement < 0.5 else f"{each.agreement:.4%}",
        ]
        for each in report.measurements
    ]
    return Table(f"Mel and Mel-RVQ on {report.device}", _COLUMNS, rows)


def remarks(report: KernelReport) -> list[str]:
    """What the table does not say, one sentence each."""
    ceilings = report.ceilings
    notes = [
        f"Ceilings: {ceilings.bytes_per_second / 1e9:.4g} GB/s copied, "
        f"{ceilings.flops_per_second / 1e12:.3g} TFLOP/s in a product of float32 matrices."
    ]
    notes += [
        f"The full-size encoder, PyTorch eager, float16: {seconds * 1000:.4g} ms for {cell}."
        for cell, seconds in report.encoder_seconds.items()
    ]
    busiest = max(each.neighbours_share for each in report.measurements)
    return [*notes, f"Other programs took up to {busiest:.0%} of the cores' time meanwhile."]


def write_report(report: KernelReport, output: Path) -> list[Path]:
    """Write ``output`` with .json and .md added, each whole or not at all.

    Returns:
        The files written.
    """
    texts = {".json": json.dumps(asdict(report), indent=2) + "\n", ".md": _markdown(report, output)}
    paths = [output.with_name(output.name + suffix) for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def _markdown(report: KernelReport, output: Path) -> str:
    table = result_table(report)
    work = {
        f"{each.operation}, {each.batch} x {each.window_seconds:g} s": each
        for each in report.measurements
    }
    counted = [[name, f"{each.bytes:,}", f"{each.flops:,}"] for name, each in work.items()]
    where = {"threads": str(report.threads), **report.environment}
    parts = [
        f"# {output.name}",
        f"`{report.command}`, {report.created}",
        f"## {table.title}",
        markdown_table(table.columns, table.rows),
        _METHOD,
        *remarks(report),
        "## Bytes and operations",
        markdown_table(("input", "bytes", "operations"), counted),
        "## Where",
        markdown_table(("", ""), [[*each] for each in where.items()]),
    ]
    return "\n\n".join(parts) + "\n"
