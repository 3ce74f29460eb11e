"""A benchmark's results as JSON, Markdown and charts."""

import json
import tempfile
from pathlib import Path

from ...common.files import atomic_file
from ...errors import MissingDependencyError, UsageError
from ..style import markdown_table
from .results import ModelReport
from .tables import Table, remarks, sections

_LEAST_BATCHES = 3  # for a line


def check_output(output: Path) -> None:
    """Refuse a place that cannot be written before minutes are spent on measuring.

    Raises:
        UsageError: ``output`` is a folder. MissingDependencyError: no matplotlib.
    """
    if output.is_dir():
        raise UsageError(f"{output}: a folder; give a name without suffix, as {output}/cpu.")
    output.parent.mkdir(parents=True, exist_ok=True)
    # Raises the system's error where writing is not allowed.
    with tempfile.TemporaryFile(dir=output.parent):
        pass
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "the chart needs matplotlib. Run: pip install 'muqrt[bench]'"
        ) from None


def write_report(report: ModelReport, output: Path) -> list[Path]:
    """Write ``output`` with .json, .md and .png added, each whole or not at all.

    Further charts, where there is something to draw: ``output``-throughput.png, of three batch
    sizes or more, and ``output``-parts.png, of the operators' times.

    Returns:
        The files written.
    """
    from .chart import batches, draw, draw_parts, draw_throughput

    charts = [_beside(output, ".png")]
    with atomic_file(charts[0]) as temporary:
        draw(sections(report)[0][0].title, report.latencies, temporary)
    batched = batches(report.latencies)
    if len({each.batch for each in batched}) >= _LEAST_BATCHES:
        charts.append(_beside(output, "-throughput.png"))
        with atomic_file(charts[-1]) as temporary:
            draw_throughput(f"Throughput on {report.device}", batched, temporary)
    if report.operators:
        charts.append(_beside(output, "-parts.png"))
        with atomic_file(charts[-1]) as temporary:
            draw_parts("Where the time goes", report.operators, temporary)
    texts = {
        _beside(output, ".json"): json.dumps(report.document(), indent=2) + "\n",
        _beside(output, ".md"): _markdown(report, output.name, [path.name for path in charts]),
    }
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [*texts, *charts]


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(output.name + suffix)


def _markdown(report: ModelReport, name: str, charts: list[str]) -> str:
    (latency, how_to_read), *others = sections(report)
    parts = [
        f"# {name}",
        f"`{report.command}`, {report.created}",
        *_section(latency, how_to_read),
        *remarks(report),
        *(f"![{latency.title}]({chart})" for chart in charts),
    ]
    for table, note in others:
        parts += _section(table, note)
    measured = [[str(value) for value in facts.values()] for facts in report.artefacts]
    parts += [
        "## What was measured",
        f"Checkpoint {report.checkpoint}, SHA-256 `{report.checkpoint_sha256}`.",
        markdown_table(list(report.artefacts[0]), measured),
        "## Where",
        markdown_table(["", ""], [[*each] for each in report.environment.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(table: Table, note: str) -> list[str]:
    parts = [f"## {table.title}", markdown_table(table.columns, table.rows)]
    return [*parts, note] if note else parts
