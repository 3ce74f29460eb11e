"""``muqrt bench streams``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, progress, show, table
from ...errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from ...benchmarks.loadtest.plan import Load
    from ...benchmarks.loadtest.results import LoadReport
    from ...benchmarks.loadtest.run import Target
    from ...common.console import Bar

commands = typer.Typer()


@commands.command()
def loadtest(
    server: Annotated[
        str | None, typer.Option(help="Test a Triton server: host:port of its gRPC.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Test the engine alone, in this process.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the live model.")] = "muq_stream",
    artefact: Annotated[str | None, typer.Option(help="Which artefact of the bundle.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the bundle's engine.")
    ] = None,
    streams: Annotated[int, typer.Option(help="Live streams at the same time.")] = 50,
    seconds: Annotated[float, typer.Option(help="How long each lasts.")] = 60.0,
    chunk_ms: Annotated[float, typer.Option(help="Audio in each request.")] = 100.0,
    jitter_ms: Annotated[
        float, typer.Option(help="A chunk arrives up to so much later than it could.")
    ] = 20.0,
    disconnect: Annotated[
        float, typer.Option(help="Share of the streams that vanish once and come back as new ones.")
    ] = 0.0,
    burst: Annotated[
        float,
        typer.Option(help="Seconds for which each stream's network stalls, once in 10 s."),
    ] = 0.0,
    churn: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead, open and close so many short streams as fast as possible, --streams at "
            "once; a third of them are killed without END.",
        ),
    ] = None,
    idle_seconds: Annotated[
        float,
        typer.Option(min=0, help="After --churn: how long killed streams may stay alive."),
    ] = 45.0,
    audio: Annotated[
        list[Path] | None, typer.Option(help="Repeatable; the clips of the package by default.")
    ] = None,
    pid: Annotated[
        int | None, typer.Option(help="Process of a server on this machine: its memory.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="The server's metrics, as http://localhost:8002/metrics.")
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option(min=0.1, max=86400, help="For one answer of the server.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write NAME.json, .md and .png.", metavar="NAME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Play many live streams at once in real time, and measure how late their tags come."""
    _require_psutil()
    from ...benchmarks.loadtest.plan import Load
    from ...benchmarks.loadtest.report import check_output, write_report
    from ...benchmarks.loadtest.run import Target, load_engine

    load = Load(streams, seconds, chunk_ms / 1e3, jitter_ms / 1e3, disconnect, burst, seed)
    if (bundle is None) == (server is None):
        raise UsageError("say what to test: either --server HOST:PORT or --bundle FOLDER.")
    if server is not None and (artefact, threads) != (None, None):
        raise UsageError("--artefact and --threads are for --bundle; a server has its own.")
    if bundle is not None and (churn, pid, metrics) != (None, None, None):
        raise UsageError("--churn, --pid and --metrics are for --server.")
    if output is not None:
        check_output(output)
    with progress("Load", int(seconds) if churn is None else churn) as bar:
        if server is not None:
            target = Target(server, model, timeout_seconds, pid, metrics)
            report = _on_server(target, load, churn, idle_seconds, audio or [], bar)
        else:
            assert bundle is not None
            report = load_engine(bundle, artefact, threads, load, audio or [], bar)
    written = write_report(report, output) if output is not None else []
    show(
        as_json,
        report.document(),
        table(report.target, ("figure", ""), report.rows()),
        table("Errors", ("kind", "times"), report.error_rows()) if report.errors else "",
        *(f"Wrote {path}" for path in written),
    )


def _on_server(
    target: "Target",
    load: "Load",
    churn: int | None,
    idle_seconds: float,
    audio: list[Path],
    bar: "Bar",
) -> "LoadReport":
    import asyncio

    from ...benchmarks.loadtest.run import churn_server, load_server

    if churn is None:
        return asyncio.run(load_server(target, load, audio, bar))
    return asyncio.run(
        churn_server(target, churn, load.streams, idle_seconds, audio, bar, load.seed)
    )


def _require_psutil() -> None:
    try:
        import psutil  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "psutil is needed for this. Run: pip install 'muqrt[loadtest]'"
        ) from None
