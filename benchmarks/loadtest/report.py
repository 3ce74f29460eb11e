"""A load test's results as JSON, Markdown and a chart."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError, UsageError
from ...files import atomic_file
from ..markdown import markdown_table
from .figures import Figures, Stretch
from .watch import Sample

# How the figures read: name, and how to write the value.
_LABELS = {
    "churn_seconds": ("seconds that it took", ",.0f"),
    "streams_opened": ("streams opened", ",.0f"),
    "streams_vanished": ("of them vanished without END", ",.0f"),
    "streams_refused": ("streams refused", ",.0f"),
    "refusals": ("refusals, tried again", ",.0f"),
    "slots_lost": ("streams still live afterwards", ",.0f"),
    "errors": ("errors", ",.0f"),
    "audio_seconds": ("audio, s", ",.0f"),
    "hops": ("hops answered", ",.0f"),
    "hops_unanswered": ("hops not answered", ",.0f"),
    "latency_p50_ms": ("latency p50, ms", ".1f"),
    "latency_p95_ms": ("latency p95, ms", ".1f"),
    "latency_p99_ms": ("latency p99, ms", ".1f"),
    "latency_max_ms": ("latency, worst, ms", ".1f"),
    "missed_deadlines": ("missed deadlines", ",.0f"),
    "missed_before_arrival": ("of them missed by the network alone", ",.0f"),
    "service_p50_ms": ("from arrival p50, ms", ".1f"),
    "service_p95_ms": ("from arrival p95, ms", ".1f"),
    "service_p99_ms": ("from arrival p99, ms", ".1f"),
    "service_max_ms": ("from arrival, worst, ms", ".1f"),
    "real_time_factor": ("engine's real-time factor", ".4f"),
    "core_seconds_per_second": ("core seconds for a second of audio", ".4f"),
    "cpu_cores": ("cores busy", ".2f"),
    "rss_first_mb": ("resident memory at first, MB", ",.1f"),
    "rss_half_way_mb": ("half-way, MB", ",.1f"),
    "rss_last_mb": ("at last, MB", ",.1f"),
    "rss_peak_mb": ("highest, MB", ",.1f"),
    "asked_if_ready": ("asked whether it is ready", ",.0f"),
    "not_ready": ("times it was not", ",.0f"),
    "others_share": ("other programs' share of the cores", ".0%"),
    "generator_cores": ("cores busy with making this load", ".2f"),
}
_METHOD = (
    "*latency* is from the end of a hop's audio, the moment its last sample was due in real time, "
    "to its tags: what remains of the chunk it is in, the network's jitter and bursts, queues and "
    "the engine. *from arrival* leaves out the chunk and the network. A deadline is missed when "
    "the latency is longer than a hop. The *real-time factor* is engine seconds for each second of "
    "audio. *Core seconds* are the processor's time, without the waiting for it: the inverse is "
    "how many streams a core can carry at most. Memory and cores are of the whole process tree."
)


@dataclass(frozen=True)
class Report:
    """One run of ``muqrt loadtest``; ``document`` is its JSON.

    Attributes:
        created, command, environment: when, how and where it was measured.
        target: what was under load.
        load: what was asked for.
        figures: by name, None for what could not be known.
        errors: how many of each kind.
        over_time: the latencies, stretch by stretch.
        latencies_ms: of every hop.
        samples: memory, processor and live streams over time.
    """

    created: str
    command: str
    environment: dict[str, str]
    target: str
    load: dict[str, Any]
    figures: Figures
    errors: dict[str, int]
    over_time: list[Stretch]
    latencies_ms: list[float]
    samples: list[Sample]

    def document(self) -> dict[str, Any]:
        """Everything in JSON's types."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """The figures that are known, as finished cells: name and value."""
        return [
            [label, format(value, style)]
            for name, (label, style) in _LABELS.items()
            if (value := self.figures.get(name)) is not None
        ]

    def error_rows(self) -> list[list[str]]:
        """The errors by kind, the most frequent first."""
        frequent = sorted(self.errors.items(), key=lambda each: -each[1])
        return [[kind, str(count)] for kind, count in frequent]


def check_output(output: Path) -> None:
    """Refuse a place that cannot be written before minutes are spent.

    Raises:
        UsageError: ``output`` is a folder. MissingDependencyError: no matplotlib.
    """
    if output.is_dir():
        raise UsageError(f"{output}: a folder; give a name without suffix, as {output}/load.")
    require_matplotlib()


def require_matplotlib() -> None:
    """Raise MissingDependencyError unless charts can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "the chart needs matplotlib. Run: pip install 'muqrt[loadtest]'"
        ) from None


def write_report(report: Report, output: Path) -> list[Path]:
    """Write ``output`` with .json, .md and .png added, each whole or not at all.

    Returns:
        The files written.
    """
    from .chart import draw

    page, document, chart = (
        output.with_name(output.name + suffix) for suffix in (".md", ".json", ".png")
    )
    with atomic_file(chart) as temporary:
        draw(report, temporary)
    texts = {
        document: json.dumps(report.document(), indent=1) + "\n",
        page: _markdown(report, output.name, chart.name),
    }
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [*texts, chart]


def _markdown(report: Report, name: str, chart: str) -> str:
    asked = [[key, str(value)] for key, value in report.load.items()]
    parts = [
        f"# {name}",
        f"`{report.command}`, {report.created}",
        f"Under load: {report.target}.",
        markdown_table(("figure", ""), report.rows()),
        _METHOD,
        f"![over time]({chart})",
        *(
            ["## Errors", markdown_table(("kind", ""), report.error_rows())]
            if report.errors
            else []
        ),
        "## Load",
        markdown_table(("", ""), asked),
        "## Where",
        markdown_table(("", ""), [[*each] for each in report.environment.items()]),
    ]
    return "\n\n".join(parts) + "\n"
