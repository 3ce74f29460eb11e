"""A benchmark's results as JSON, Markdown, a chart, and tables for the terminal."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import MissingDependencyError, UsageError
from ..files import atomic_file
from ..runtime.bundle import Bundle
from .cold_start import STARTS, WINDOW_SECONDS, ColdStart
from .contenders import COMPILED
from .latency import Latency

_LATENCY_COLUMNS = (
    *("contender", "window, s", "batch", "median, s", "p10 to p90, s"),
    *("times eager", "audio s / s", "rounds"),
)
_COLD_START_COLUMNS = (
    *("contender", "cold start, s", "of it loading, s", "first answer, s"),
    *("peak memory, MB", "files, MB"),
)
# Of the cores' time, taken by other programs.
_QUIET_SHARE = 0.05
_METHOD = (
    "The contenders took turns in one process, with the same number of threads, on the clips that "
    "come with muqrt, after a first call each whose answer had to be the reference's. "
    "*times eager* is the median over the rounds of eager's seconds over the contender's."
)


@dataclass(frozen=True)
class Report:
    """One run of ``muqrt bench``; ``document`` is its JSON.

    ``unavailable`` says which contender did not start, and why. ``size_bytes`` is of each
    contender's files.
    """

    created: str
    command: str
    threads: int
    environment: dict[str, str]
    checkpoint: str
    checkpoint_sha256: str
    artefacts: list[dict[str, Any]]
    unavailable: dict[str, str]
    size_bytes: dict[str, int]
    latencies: list[Latency]
    cold_starts: list[ColdStart]

    def document(self) -> dict[str, Any]:
        """Everything, raw samples included, in JSON's types."""
        return asdict(self)


def artefact_facts(bundle: Bundle) -> list[dict[str, Any]]:
    """Which artefacts were measured, and whether each is certified."""
    return [
        {
            "name": artefact.name,
            "engine": artefact.engine,
            "precision": artefact.precision,
            "level": artefact.level,
            "sha256": artefact.digest,
            "certified": artefact.certified,
        }
        for artefact in bundle.artefacts
    ]


class Table(NamedTuple):
    """Finished cells."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]


def tables(report: Report) -> list[Table]:
    """The latency table and the cold start table."""
    uncertified = {each["name"] for each in report.artefacts if not each["certified"]}
    marks = {name: f"{name} (NOT CERTIFIED)" for name in uncertified}
    threads = f"{report.threads} thread{'s' if report.threads > 1 else ''}"
    machine = f"{report.environment['cpu']}, {threads}"
    latency_rows = [_latency_row(each, marks) for each in report.latencies]
    cold_rows = [_cold_start_row(each, marks, report.size_bytes) for each in report.cold_starts]
    return [
        Table(f"Latency on {machine}", _LATENCY_COLUMNS, latency_rows),
        Table(
            f"From process start to the first answer, {WINDOW_SECONDS:g} s of audio",
            _COLD_START_COLUMNS,
            cold_rows,
        ),
    ]


def remarks(report: Report) -> list[str]:
    """What the tables do not say, one sentence each."""
    compiling = [each.first_call_seconds for each in report.latencies if each.contender == COMPILED]
    notes = [f"{name}: not available: {reason}" for name, reason in report.unavailable.items()]
    if compiling:
        span = f"{min(compiling):.0f} to {max(compiling):.0f} s"
        notes.append(f"{COMPILED}: compiling took {span} for each window and batch, not included.")
    shares = sorted(each.neighbours_share for each in report.latencies)
    busy = f"Other programs took {shares[0]:.0%} to {shares[-1]:.0%} of the cores' time meanwhile"
    # Measured: a neighbour slows PyTorch's thread pool down far more than ONNX Runtime's.
    unfair = ", which hits the contenders unequally: measure again on a quiet machine."
    notes.append(busy + (unfair if shares[-1] > _QUIET_SHARE else "."))
    if any(not each.matches for each in report.latencies):
        notes.append("* this contender's answer is NOT the reference's.")
    return notes


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


def write_report(report: Report, output: Path) -> list[Path]:
    """Write ``output`` with .json, .md and .png added, each whole or not at all.

    Returns:
        The files written.
    """
    from .chart import draw

    paths = [_beside(output, suffix) for suffix in (".json", ".md", ".png")]
    as_json, as_markdown, chart = paths
    with atomic_file(as_json) as temporary:
        text = json.dumps(report.document(), indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_file(chart) as temporary:
        draw(tables(report)[0].title, report.latencies, temporary)
    with atomic_file(as_markdown) as temporary:
        temporary.write_text(_markdown(report, output.name, chart.name), encoding="utf-8")
    return paths


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(output.name + suffix)


def _latency_row(each: Latency, marks: dict[str, str]) -> list[str]:
    return [
        marks.get(each.contender, each.contender) + ("" if each.matches else " *"),
        f"{each.window_seconds:g}",
        str(each.batch),
        f"{each.median_seconds:.3g}",
        f"{each.p10_seconds:.3g} to {each.p90_seconds:.3g}",
        f"{each.speedup:.2f}",
        f"{each.audio_seconds_per_second:.1f}",
        str(len(each.samples_seconds)),
    ]


def _cold_start_row(
    each: ColdStart, marks: dict[str, str], size_bytes: dict[str, int]
) -> list[str]:
    return [
        marks.get(each.contender, each.contender),
        f"{each.cold_start_seconds:.2f}",
        f"{each.load_seconds:.2f}",
        f"{each.first_answer_seconds:.2f}",
        f"{each.peak_rss_bytes / 1e6:.0f}",
        f"{size_bytes[each.contender] / 1e6:.0f}",
    ]


def _markdown(report: Report, name: str, chart: str) -> str:
    latency, cold_start = tables(report)
    measured = [[str(value) for value in facts.values()] for facts in report.artefacts]
    parts = [
        f"# {name}",
        f"`{report.command}`, {report.created}",
        f"## {latency.title}",
        markdown_table(latency.columns, latency.rows),
        _METHOD,
        *remarks(report),
        f"![{latency.title}]({chart})",
        f"## {cold_start.title}",
        markdown_table(cold_start.columns, cold_start.rows),
        f"Medians of {STARTS} fresh processes each, peak memory (resident) of the largest. "
        "Loading includes imports and the check of the files' hashes.",
        "## What was measured",
        f"Checkpoint {report.checkpoint}, SHA-256 `{report.checkpoint_sha256}`.",
        markdown_table(list(report.artefacts[0]), measured),
        "## Where",
        markdown_table(["", ""], [[*each] for each in report.environment.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(columns: Sequence[str], rows: list[list[str]]) -> str:
    """The first column is text, the others are right-aligned figures."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
