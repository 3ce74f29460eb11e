"""A load test's results as JSON, Markdown and a chart."""

import json
from pathlib import Path

from ...common.files import atomic_file
from ...errors import UsageError
from ..style import markdown_table
from .results import LoadReport, require_matplotlib

_METHOD = (
    "*latency* is from the end of a hop's audio, the moment its last sample was due in real time, "
    "to its tags: what remains of the chunk it is in, the network's jitter and bursts, queues and "
    "the engine. *from arrival* leaves out the chunk and the network. A deadline is missed when "
    "the latency is longer than a hop. The *real-time factor* is engine seconds for each second of "
    "audio. *Core seconds* are the processor's time, without the waiting for it: the inverse is "
    "how many streams a core can carry at most. Memory and cores are of the whole process tree."
)


def check_output(output: Path) -> None:
    """Refuse a place that cannot be written before minutes are spent.

    Raises:
        UsageError: ``output`` is a folder. MissingDependencyError: no matplotlib.
    """
    if output.is_dir():
        raise UsageError(f"{output}: a folder; give a name without suffix, as {output}/load.")
    require_matplotlib()


def write_report(report: LoadReport, output: Path) -> list[Path]:
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


def _markdown(report: LoadReport, name: str, chart: str) -> str:
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
