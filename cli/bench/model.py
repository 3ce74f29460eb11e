"""``muqrt bench model``."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress, show, table
from ...errors import MissingDependencyError

commands = typer.Typer()


@commands.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    checkpoint: Annotated[str, typer.Option(help="The checkpoint the bundle was made from.")],
    device: Annotated[str, typer.Option(help="Where all contenders run: cpu, or cuda.")] = "cpu",
    cpu: Annotated[
        bool,
        typer.Option(
            "--cpu",
            help="All about a CPU: one thread and all, one thing changed at a time; where the "
            "time goes, the machine's arithmetic, a live stream, and songs an hour.",
        ),
    ] = False,
    windows: Annotated[
        str, typer.Option(help="Lengths of audio in seconds, comma-separated.")
    ] = "5,10,30",
    batches: Annotated[
        str | None,
        typer.Option(help="Batch sizes, comma-separated; 1,4 by default, on a GPU 1,8,32."),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            help="CPU threads of each contender, comma-separated; all cores by default, with "
            "--cpu one and all."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How often each contender runs; slow inputs get fewer, but at least 3. 10 by "
            "default, with --cpu 5, on a GPU 100.",
        ),
    ] = None,
    compile_: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Measure torch.compile too, fp32 and bf16."),
    ] = True,
    compile_batches: Annotated[
        str | None,
        typer.Option(
            help="Batch sizes to compile for, among --batches; all by default, with --cpu or on a "
            "GPU the smallest, for the middle window only."
        ),
    ] = None,
    hops: Annotated[
        int | None,
        typer.Option(
            help="Hops of a live stream, at 0.5 s with windows of 10 s; none by default, with "
            "--cpu 5."
        ),
    ] = None,
    songs: Annotated[
        int | None,
        typer.Option(
            help="Songs of 3 minutes to embed, decoding included; none by default, with --cpu 2."
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(help="Of an hour of the device: adds how much audio the money buys."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write NAME.json, NAME.md and charts.", metavar="NAME"),
    ] = None,
    allow_uncertified: Annotated[
        bool, typer.Option(help="Report artefacts without a passing certificate too, marked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a bundle is, against PyTorch and plain ONNX, on this machine."""
    require_extra()
    from ...benchmarks.model.plan import BenchmarkRequest, plan
    from ...benchmarks.model.report import check_output, write_report
    from ...benchmarks.model.run import run
    from ...benchmarks.model.tables import remarks, sections

    request = BenchmarkRequest(
        device=device,
        windows=windows,
        batches=batches,
        threads=threads,
        rounds=rounds,
        compiles=compile_,
        compile_batches=compile_batches,
        cpu=cpu,
        hops=hops,
        songs=songs,
        price=price,
        allow_uncertified=allow_uncertified,
    )
    wanted = plan(bundle, checkpoint, request)
    if output is not None:
        check_output(output)
    with progress("Benchmark", wanted.steps) as bar:
        report = run(wanted, bar)
    written = write_report(report, output) if output is not None else []
    show(
        as_json,
        report.document(),
        *(table(*each) for each, _ in sections(report)),
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
