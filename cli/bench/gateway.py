"""``muqrt bench gateway``."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from .options import ReportName

commands = typer.Typer()


@commands.command()
def gateway(
    models: Annotated[
        Path, typer.Argument(help="Model repository with muq, to start a server on.")
    ],
    audio: Annotated[
        list[Path] | None,
        typer.Argument(help="Encoded files to send; the clips of the package by default, twice."),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="Files that are under way at a time.")
    ] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="How often all files go each way.")] = 10,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Measure files through the gateway, against a client that asks the server itself."""
    import_extra("bench", "psutil")
    import_extra("web", "uvicorn", "starlette", "websockets", "python_multipart")
    from ...benchmarks.gateway import measure
    from ...benchmarks.measure.report import check_output, publish
    from ...export.parity.excerpt import EXAMPLE_FILES, EXAMPLES

    check_output(output)
    files = audio or [EXAMPLES / name for name in EXAMPLE_FILES] * 2
    with progress("Benchmark", rounds) as bar:
        report = measure(models, files, rounds, at_once, bar.advance)
    publish(report, output, as_json)
