"""What the commands print: text for people, JSON for machines, progress on stderr.

Rich is imported only for a table or for a terminal that shows progress: it takes longer to import
than many a command takes to run.
"""

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

# A file or a log is wider than the 80 columns a pipe is taken for.
_PIPE_COLUMNS = 120
# C0 and C1 controls, and what changes the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and whose others are right-aligned figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Bar:
    """A progress bar's handle.

    Args:
        on_change: called with how much is done, of how much, and with what is being done.
        total: how much there is to do; None if that is not known.
        is_shown: whether anything is shown.
    """

    def __init__(
        self,
        on_change: Callable[[float, float | None, str], None],
        total: float | None = None,
        is_shown: bool = True,
    ) -> None:
        self._on_change = on_change
        self._done, self._total = 0.0, total
        self.is_shown = is_shown

    def advance(self, doing: object = "", steps: float = 1) -> None:
        """Advance by some steps, and show what is being done."""
        self.move_to(self._done + steps, self._total, doing)

    def move_to(self, done: float, total: float | None, doing: object = "") -> None:
        """Show how much is done, of how much, and what is being done."""
        self._done, self._total = done, total
        self._on_change(done, total, str(doing))


def _count(number: float) -> str:
    return f"{number:.0f}"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress(
    title: str, total: float | None, amount: Callable[[float], str] = _count
) -> Iterator[Bar]:
    """Show a progress bar on stderr if it is a terminal.

    Args:
        title: what is going on.
        total: how much there is to do; None if that is not known.
        amount: how much as text: a count by default.
    """
    if not sys.stderr.isatty():
        yield Bar(lambda done, total, doing: None, total, is_shown=False)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    def of(done: float, total: float | None) -> str:
        return f"{amount(done)}/{'?' if total is None else amount(total)}"

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", markup=False),  # a file's name may hold brackets
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=total, doing="", amount=of(0, total))

        def change(done: float, total: float | None, doing: str) -> None:
            shown.update(
                task, completed=done, total=total, amount=of(done, total), doing=printable(doing)
            )

        yield Bar(change, total)


def printable(text: str) -> str:
    """Text with escapes for all that a terminal would take for a command, line ends included.

    Names of files may hold anything: colours, cursor movements, letters in reversed order.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def note(message: str) -> None:
    """Print a line for people on stderr."""
    print(f"muqrt: {printable(message)}", file=sys.stderr, flush=True)


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Show what is waited for: with the time, if stderr is a terminal, otherwise as one line."""
    if not sys.stderr.isatty():
        note(title)
    with progress(title, None):
        yield


def show(as_json: bool, facts: object, *lines: str | Table) -> bool:
    """Print either the facts as JSON or the lines, without those that are empty.

    Returns:
        False if the reader at the other end of a pipe has gone.
    """
    text = json.dumps(facts) + "\n" if as_json else "".join(_rendered(line) for line in lines)
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


def _rendered(line: str | Table) -> str:
    if isinstance(line, str):
        return f"{printable(line)}\n" if line else ""
    from rich import table
    from rich.console import Console

    drawn = table.Table(title=line.title, title_justify="left")
    for index, column in enumerate(line.columns):
        drawn.add_column(column, justify="right" if index else "left")
    for row in line.rows:
        drawn.add_row(*(printable(str(cell)) for cell in row))
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    with console.capture() as captured:
        console.print(drawn, markup=False)
    return captured.get()
