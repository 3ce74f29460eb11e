"""``muqrt bench``."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, progress, show, table
from ..errors import MissingDependencyError

commands = typer.Typer()


@commands.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    windows: Annotated[
        str, typer.Option(help="Lengths of audio in seconds, comma-separated.")
    ] = "5,10,30",
    batches: Annotated[str, typer.Option(help="Batch sizes, comma-separated.")] = "1,4",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each; all cores by default.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=5, help="Rounds; slow cells get fewer, but at least 5.")
    ] = 10,
    compile_: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure torch.compile too.")
    ] = True,
    compile_batches: Annotated[
        str | None,
        typer.Option(help="Batch sizes to compile for, among --batches; all by default."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write NAME.json, NAME.md and NAME.png.", metavar="NAME"
        ),
    ] = None,
    allow_uncertified: Annotated[
        bool, typer.Option(help="Report artefacts without a passing certificate too, marked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a bundle is, against PyTorch, on this machine."""
    require_extra()
    from .plan import plan
    from .report import check_output, remarks, tables, write_report
    from .run import run

    wanted = plan(
        bundle,
        checkpoint,
        windows,
        batches,
        threads,
        repeats,
        (compile_batches or batches) if compile_ else "",
        allow_uncertified,
    )
    if output is not None:
        check_output(output)
    with progress("Benchmark", wanted.steps) as bar:
        report = run(wanted, bar)
    written = write_report(report, output) if output is not None else []
    show(
        as_json,
        report.document(),
        *(table(*each) for each in tables(report)),
        *remarks(report),
        *(f"Wrote {path}" for path in written),
    )


def require_extra() -> None:
    """Raise MissingDependencyError unless everything a benchmark needs is installed."""
    try:
        import onnx  # noqa: F401
        import psutil  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is needed for this. Run: pip install 'muqrt[bench]'"
        ) from None
