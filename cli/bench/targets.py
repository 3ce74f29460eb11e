"""``muqrt bench targets``."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from ...errors import UsageError
from .options import ReportName

commands = typer.Typer()


@commands.command()
def targets(
    checkpoint: Annotated[str, typer.Argument(help="Folder, .pt file or hub id of a MuQ.")],
    emulated: Annotated[
        list[str] | None,
        typer.Option(
            help="A Python on an emulated processor, and the processor's name; repeatable. It "
            "needs what muqrt itself needs, and no torch.",
            metavar="NAME=PYTHON",
        ),
    ] = None,
    longest_seconds: Annotated[
        float,
        typer.Option(min=1, help="Compare on music of at most this length."),
    ] = 30.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads when timed.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="How often each target is timed.")] = 20,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Build a model for every target of the edge; measure size, numbers and speed here."""
    import_extra("bench", "onnx", "torch")
    from ...benchmarks.measure.report import check_output, publish
    from ...benchmarks.targets import measure_targets

    elsewhere = dict(map(_named, emulated or []))
    check_output(output)
    with progress("Benchmark", None) as bar:
        about = longest_seconds, threads, rounds
        report = measure_targets(checkpoint, elsewhere, *about, bar.advance)
    publish(report, output, as_json)


def _named(text: str) -> tuple[str, Path]:
    name, _, python = text.partition("=")
    if not name or "/" in name or not Path(python).is_file():
        raise UsageError(f"--emulated {text!r}: give a name and a program, such as a72=./python.")
    return name, Path(python)
