"""``muqrt bench streams``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...benchmarks.measure.report import check_output, publish, require
from ...common.console import Json, progress
from ...errors import UsageError
from .options import Output

if TYPE_CHECKING:
    from ...benchmarks.loadtest.plan import Load
    from ...benchmarks.loadtest.report import LoadReport
    from ...benchmarks.loadtest.run import Target
    from ...common.console import Bar

commands = typer.Typer()


@commands.command()
def streams(
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
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with the load: streams, seconds, chunk_seconds, jitter_seconds, "
            "disconnect, burst_seconds, seed. The options below override it."
        ),
    ] = None,
    live: Annotated[
        int | None, typer.Option("--streams", help="Live streams at the same time; default: 50.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long each stream lasts; default: 60.")
    ] = None,
    chunk_ms: Annotated[
        float | None, typer.Option(help="Audio in each request, in milliseconds; default: 100.")
    ] = None,
    jitter_ms: Annotated[
        float | None,
        typer.Option(help="Delay each chunk by up to this many milliseconds; default: 20."),
    ] = None,
    disconnect: Annotated[
        float | None,
        typer.Option(help="Share of streams that vanish once and return as new ones; default: 0."),
    ] = None,
    burst: Annotated[
        float | None,
        typer.Option(help="Stall each stream's network for this long, once in 10 s; default: 0."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed; default: 0.")] = None,
    churn: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead, open and close this many short streams as fast as possible, --streams "
            "at once; a third of them are killed without END.",
        ),
    ] = None,
    idle_seconds: Annotated[
        float,
        typer.Option(min=0, help="After --churn: how long killed streams may stay alive."),
    ] = 45.0,
    audio: Annotated[
        list[Path] | None,
        typer.Option(help="Audio to play, repeatable; default: the clips of the package."),
    ] = None,
    pid: Annotated[
        int | None, typer.Option(help="Measure memory and cores of this server process.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="The server's metrics, such as http://localhost:8002/metrics."),
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option(min=0.1, max=86400, help="How long one answer may take.")
    ] = 10.0,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure how late the tags of many live streams come."""
    require("loadtest", "psutil")
    from ...benchmarks.loadtest.plan import Load
    from ...benchmarks.loadtest.run import Target, load_engine
    from ...common.config import save_config, with_config

    flags = {
        "streams": live,
        "seconds": seconds,
        "chunk_seconds": None if chunk_ms is None else chunk_ms / 1e3,
        "jitter_seconds": None if jitter_ms is None else jitter_ms / 1e3,
        "disconnect": disconnect,
        "burst_seconds": burst,
        "seed": seed,
    }
    load = with_config(Load, config, flags)
    if (bundle is None) == (server is None):
        raise UsageError("say what to test: either --server HOST:PORT or --bundle FOLDER.")
    if server is not None and (artefact, threads) != (None, None):
        raise UsageError("--artefact and --threads are for --bundle; a server has its own.")
    if bundle is not None and (churn, pid, metrics) != (None, None, None):
        raise UsageError("--churn, --pid and --metrics are for --server.")
    check_output(output, charts_from="loadtest")
    with progress("Load", int(load.seconds) if churn is None else churn) as bar:
        if server is not None:
            target = Target(server, model, timeout_seconds, pid, metrics)
            report = asyncio.run(_on_server(target, load, churn, idle_seconds, audio or [], bar))
        else:
            assert bundle is not None
            report = load_engine(bundle, artefact, threads, load, audio or [], bar)
    if output is None:
        return publish(report, output, as_json)
    effective = output.with_name(f"{output.name}.toml")
    save_config(load, effective)
    publish(report, output, as_json, [effective])


async def _on_server(
    target: "Target",
    load: "Load",
    churn: int | None,
    idle_seconds: float,
    audio: list[Path],
    bar: "Bar",
) -> "LoadReport":
    from ...benchmarks.loadtest.run import churn_server, load_server

    if churn is None:
        return await load_server(target, load, audio, bar)
    return await churn_server(target, churn, load.streams, idle_seconds, audio, bar, load.seed)
