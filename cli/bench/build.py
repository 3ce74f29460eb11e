"""``muqrt bench build``."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from ...errors import UsageError
from ..options import OwnBundle
from .options import ReportName

commands = typer.Typer()


@commands.command()
def build(
    bundle: OwnBundle,
    checkpoint: Annotated[str, typer.Option(help="The checkpoint that the bundle was made from.")],
    precision: Annotated[
        str, typer.Option(help="What to build, as for muqrt build.", metavar="P,...")
    ] = "int8-qdq,fp8",
    before: Annotated[
        Path | None,
        typer.Option(
            help="Folder of another version of muqrt's source, to take turns with.",
            metavar="FOLDER",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is built.")] = 1,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Measure how long builds take, in what memory, and whether another version's are the same."""
    import_extra("export", "onnx", "torch")
    from ...benchmarks.build import measure_builds
    from ...benchmarks.measure.report import check_output, publish
    from ...export.recipes import precisions
    from ...runtime.bundle.manifest import load_bundle

    known, wanted = precisions("onnxruntime"), [each.strip() for each in precision.split(",")]
    if not set(wanted) <= set(known):
        raise UsageError(f"--precision {precision!r}: choose among {', '.join(known)}.")
    check_output(output)
    parameters = load_bundle(bundle).source.parameters
    with progress("Build", len(wanted) * rounds * (1 if before is None else 2)) as bar:
        about = checkpoint, wanted, before, rounds
        report = measure_builds(bundle, parameters, *about, bar.advance)
    publish(report, output, as_json)
