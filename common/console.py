"""What the commands share: text for people, JSON for machines, progress on stderr."""

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

# A file or a log is wider than the 80 columns a pipe is taken for.
_PIPE_COLUMNS = 120


class Bar:
    """A progress bar's handle."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, doing="")

    def advance(self, doing: object = "", steps: int = 1) -> None:
        """Move on, showing what is being done."""
        self._progress.update(self._task, advance=steps, doing=str(doing))


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on stderr, only where someone is looking."""
    console = Console(stderr=True)
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as p:
        yield Bar(p, total)


def show(as_json: bool, facts: object, *lines: Any) -> bool:
    """Print either the facts as JSON or the lines (text or rich renderables).

    Returns:
        False if whoever was reading has just gone.
    """
    text = json.dumps(facts) + "\n" if as_json else _rendered(lines)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be bytes that are no text.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Flushed at once: a program at the other end of a pipe is waiting for this line.
        print(text, end="", flush=True)
    except BrokenPipeError:
        # The work is done all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column is text and whose others are right-aligned figures."""
    result = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        result.add_column(column, justify="right" if index else "left")
    for row in rows:
        result.add_row(*(str(cell) for cell in row))
    return result


def _rendered(lines: Sequence[Any]) -> str:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    with console.capture() as captured:
        for line in lines:
            if line != "":
                console.print(line, markup=False)
    return captured.get()
