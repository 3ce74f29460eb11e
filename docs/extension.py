"""What the site has beyond MyST: other folders' pages, tables of measurements, commands' help."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from muqrt.cli.app import app
from muqrt.cli.lazy import LazyCommand, LazyGroup

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
HELP_COLUMNS = 88

# Pages kept beside the code, which the site includes, and the page that does.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "deploy/README.md": "deploying.md",
    "kernels/README.md": "kernels.md",
    "reference/checkpoints/muq-mini/README.md": "muq-mini.md",
    "reference/checkpoints/muq-mulan-mini/README.md": "muq-mulan-mini.md",
    "benchmarks/results/bound-full-size.md": "bounds.md#the-released-size",
    "benchmarks/results/bound-muq-mini.md": "bounds.md#muq-mini",
    "benchmarks/results/build-full-size.md": "measurements.md#builds-full-size",
    "benchmarks/results/build-muq-mini.md": "measurements.md#builds-muq-mini",
    "benchmarks/results/compiled-tensorrt-rtx.md": "measurements.md#graphs-for-gpus-compiled",
    "benchmarks/results/cpu-zen4-avx2-only-10s.md": (
        "measurements.md#muq-on-two-cores-of-zen-4-kept-to-avx2"
    ),
    "benchmarks/results/cpu-zen4-epyc-2-cores.md": "measurements.md#muq-on-two-cores-of-zen-4",
    "benchmarks/results/cpu-zen5-epyc-2-cores.md": "measurements.md#muq-on-two-cores-of-zen-5",
    "benchmarks/results/cpu-zen5-epyc-2-cores-10s.md": (
        "measurements.md#muq-on-two-cores-of-zen-5-10-s-only"
    ),
    "benchmarks/results/kernels-cpu-epyc-1-core.md": "measurements.md#kernels-on-one-core",
    "benchmarks/results/kernels-cpu-epyc-2-cores.md": "measurements.md#kernels-on-two-cores",
    "benchmarks/results/lengths-cpu-epyc-2-cores.md": "measurements.md#long-windows-on-two-cores",
    "benchmarks/results/streams-full-size.md": "measurements.md#live-streams-full-size",
    "benchmarks/results/streams-muq-mini.md": "measurements.md#live-streams-muq-mini",
    "benchmarks/results/towers-cpu-epyc-2-cores.md": "measurements.md#muq-mulan-s-towers",
}
_LINK = re.compile(r"\]\((?!https?:|#|/)([^)#\s]+)(#[^)\s]*)?\)")


def link_to_pages(text: str, folder: Path) -> str:
    """Markdown whose relative links, which start at ``folder``, lead to pages of the site."""

    def linked(found: re.Match[str]) -> str:
        path = Path(os.path.relpath((folder / found[1]).resolve(), ROOT)).as_posix()
        if path in PAGES:
            page, _, anchor = PAGES[path].partition("#")
            return f"](/{page}{found[2] or (anchor and f'#{anchor}')})"
        return f"](/{os.path.relpath(ROOT / path, ROOT / 'docs')}{found[2] or ''})"

    return _LINK.sub(linked, text)


def _on_source(sphinx: Sphinx, name: str, source: list[str]) -> None:
    source[0] = link_to_pages(source[0], (Path(sphinx.srcdir) / name).parent)


def _on_include(sphinx: Sphinx, path: Path, name: str, source: list[str]) -> None:
    source[0] = link_to_pages(source[0], (Path(sphinx.srcdir) / path).parent)


class AccuracyTable(SphinxDirective):
    """A table of figures, in percent except for ranks, from a JSON report of ``muqrt evaluate``.

    The argument is the report's file in benchmarks/results. The content has a line for each
    column, ``title = contender; contender``, whose contenders' figures are pooled, then an empty
    line, then a line for each row, ``task: metric``.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table, as Markdown that MyST renders."""
        path = RESULTS / self.arguments[0]
        self.env.note_dependency(str(path))
        report = json.loads(path.read_text(encoding="utf-8"))
        titles, _, rows = "\n".join(self.content).partition("\n\n")
        parted = (line.partition(" = ") for line in titles.splitlines())
        columns = {title: names.split("; ") for title, _, names in parted}
        lines = [["task", "metric", *columns], ["---", "---", *["---:"] * len(columns)]]
        for row in rows.splitlines():
            task, _, metric = row.partition(": ")
            figures = (_figure(report["results"], task, metric, each) for each in columns.values())
            lines.append([task, metric, *figures])
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return self.parse_text_to_nodes(text)


def _figure(results: list[dict[str, Any]], task: str, metric: str, contenders: list[str]) -> str:
    """Mean and standard deviation over every seed of the contenders."""
    found = [
        figure
        for name in contenders
        for result in results
        if (result["contender"], result["task"]) == (name, task)
        for figure in result["metrics"][metric]["seeds"]
    ]
    scale = 1 if "rank" in metric else 100
    return f"{scale * mean(found):.1f} ± {scale * pstdev(found):.1f}"


class ProcessorTable(SphinxDirective):
    """What processors reach side by side, from JSON reports of ``muqrt bench model --cpu``.

    The content has a line for each column, ``title = file in benchmarks/results``.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table, as Markdown that MyST renders."""
        columns = {}
        for line in self.content:
            title, _, name = line.partition(" = ")
            self.env.note_dependency(str(RESULTS / name))
            columns[title] = _of_processor(json.loads((RESULTS / name).read_text(encoding="utf-8")))
        rows = list(dict.fromkeys(row for figures in columns.values() for row in figures))
        lines = [["", *columns], ["---", *["---:"] * len(columns)]]
        lines += [[row, *(found.get(row, "") for found in columns.values())] for row in rows]
        return self.parse_text_to_nodes("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def _of_processor(report: dict[str, Any]) -> dict[str, str]:
    """A report's figures by the rows they belong to."""
    threads, work = report["threads"], report["arithmetic"]
    figures = {}
    for each in report["latencies"]:
        at = (each["threads"], each["window_seconds"], each["batch"])
        if at == (threads, work["window_seconds"], work["batch"]):
            cell = f"{each['median_seconds']:.2f} s, {each['speedup']:.2f} x"
            figures[f"{each['contender']}, {work['window_seconds']:.0f} s of music"] = cell
    for each in report["hops"]:
        if each["threads"] == threads:
            cell = f"{each['median_seconds']:.2f} s, {each['speedup']:.1f} x"
            figures[f"{each['contender']}, a live hop"] = cell
    for each in report["library"]:
        figures[f"{each['contender']}, songs an hour"] = f"{each['songs_per_hour']:.0f}"
    for name, rate in work["peaks_flops_per_second"].items():
        figures[f"{name}, GFLOP/s"] = f"{rate / 1e9:.0f}"
    for each in work.get("instruction_sets", ()):
        name = f"{each['precision']} with {each['instruction_set']} alone, GFLOP/s"
        figures[name] = f"{each['flops_per_second'] / 1e9:.0f}"
    return figures


class CommandHelp(SphinxDirective):
    """The help of every command, below the headings that ``muqrt --help`` has."""

    def run(self) -> list[nodes.Node]:
        """A heading for each section, a heading and a literal block for each command."""
        return self.parse_text_to_nodes(
            "\n".join(_help_of(app, "muqrt")), allow_section_headings=True
        )


def _help_of(group: LazyGroup, path: str) -> Iterator[str]:
    """The help of a group's commands, as Markdown."""
    for heading, commands in group.sections.items():
        if group is app:
            yield f"## {heading}\n"
        for command in commands:
            typed = f"{path} {command.name}"
            if isinstance(command, LazyGroup):
                yield from _help_of(command, typed)
                continue
            loaded = command.load() if isinstance(command, LazyCommand) else command
            context = loaded.context_class(loaded, info_name=typed, terminal_width=HELP_COLUMNS)
            yield f"### {typed}\n\n```text\n{loaded.get_help(context).strip()}\n```\n"


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    sphinx.connect("source-read", _on_source)
    sphinx.connect("include-read", _on_include)
    sphinx.add_directive("accuracy-table", AccuracyTable)
    sphinx.add_directive("command-help", CommandHelp)
    sphinx.add_directive("processor-table", ProcessorTable)
    return {"parallel_read_safe": True}
