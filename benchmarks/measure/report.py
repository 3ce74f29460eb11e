"""Reports: what every benchmark writes, as JSON, Markdown and charts, and prints."""

import json
import shlex
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...common.console import Table, show
from ...common.environment import environment, import_extra
from ...common.files import atomic_file
from ...errors import UsageError

Draw = Callable[[Path], None]


@dataclass(frozen=True)
class Section:
    """A table of finished cells: the first column is text, the others are figures.

    Attributes:
        title: its heading.
        columns: its header.
        rows: its cells.
        note: how to read it, for the page alone.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """The section with its heading, the figures right-aligned."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        header, *body = (
            [cell.replace("|", r"\|") for cell in row] for row in (self.columns, *self.rows)
        )
        lines = "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *body))
        return "\n\n".join(filter(None, (f"## {self.title}", lines, self.note)))

    def with_column(self, name: str, cells: Sequence[str]) -> "Section":
        """The section with one more column on the right."""
        rows = [[*row, cell] for row, cell in zip(self.rows, cells, strict=True)]
        return Section(self.title, (*self.columns, name), rows, self.note)


def without_folders(words: Sequence[str]) -> list[str]:
    """Replace absolute paths by their last names: reports do not show a machine's folders."""
    return [Path(each).name if Path(each).is_absolute() else each for each in words]


def _command() -> str:
    return shlex.join(without_folders(sys.argv))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Report(ABC):
    """One run of a benchmark; its fields are its JSON.

    Attributes:
        created: when it ended, in ISO 8601.
        command: the command line, without folders of this machine.
        environment: hardware, system and package versions.
    """

    created: str = field(default_factory=_now)
    command: str = field(default_factory=_command)
    environment: dict[str, str] = field(default_factory=environment)

    @abstractmethod
    def results(self) -> list[Section]:
        """The tables for the terminal and the page, the most important first."""

    def remarks(self) -> list[str]:
        """What the first table does not say, one line each."""
        return []

    def details(self) -> list[Section]:
        """Further tables, for the page alone."""
        return []

    def charts(self) -> Mapping[str, Draw]:
        """Functions that write a PNG, by what its name ends with, such as "-parts"."""
        return {}

    def document(self) -> dict[str, Any]:
        """Everything, raw samples included, in JSON's types."""
        return asdict(self)


def write_report(report: Report, output: Path) -> list[Path]:
    """Write ``output`` with .json and .md added, and its charts, each whole or not at all.

    Returns:
        The files written.
    """
    charts = {_beside(output, f"{end}.png"): draw for end, draw in report.charts().items()}
    for path, draw in charts.items():
        with atomic_file(path) as temporary:
            draw(temporary)
    texts = {
        _beside(output, ".json"): json.dumps(report.document(), indent=2) + "\n",
        _beside(output, ".md"): _page(report, output.name, [path.name for path in charts]),
    }
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            # A file's name may be bytes that are no text.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [*texts, *charts]


def _page(report: Report, name: str, charts: Sequence[str]) -> str:
    first, *others = report.results()
    where = Section("Where", ("", ""), [list(each) for each in report.environment.items()])
    parts = [
        f"# {name}",
        f"`{report.command}`, {report.created}",
        first.markdown(),
        *report.remarks(),
        *(f"![{first.title}]({chart})" for chart in charts),
        *(each.markdown() for each in (*others, *report.details(), where)),
    ]
    return "\n\n".join(parts) + "\n"


def publish(
    report: Report, output: Path | None, as_json: bool, further: Sequence[Path] = ()
) -> None:
    """Write the report if there is an ``output``, and print it; ``further`` files are named too."""
    written = [] if output is None else [*write_report(report, output), *further]
    show(
        as_json,
        report.document(),
        *(Table(each.title, each.columns, each.rows) for each in report.results()),
        *report.remarks(),
        *(f"Wrote {path}" for path in written),
    )


def check_output(output: Path | None, charts_from: str | None = None) -> None:
    """Refuse a place that cannot be written, before minutes are spent on measuring.

    Args:
        output: the results' name without suffix; nothing is checked when None.
        charts_from: the extra that has what charts need; None when there are none.

    Raises:
        UsageError: ``output`` is a folder, or a file is where its folder should be.
        MissingDependencyError: no matplotlib.
    """
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"{output}: a folder; give a name without suffix, such as {output}/cpu.")
    if charts_from is not None:
        import_extra(charts_from, "matplotlib")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{output.parent}: a file is in the way; choose another folder.") from None
    # Raises the system's error where writing is not allowed.
    with tempfile.TemporaryFile(dir=output.parent):
        pass


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(output.name + suffix)
