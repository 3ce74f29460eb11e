"""``muqrt bench streams``."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Ge, Le

from ...benchmarks.measure.report import check_output, publish
from ...common.console import progress
from ...common.environment import import_extra
from ...errors import UsageError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..parameters import configured
from .command import Output

if TYPE_CHECKING:
    from ...benchmarks.loadtest.plan import Load
    from ...benchmarks.loadtest.report import LoadReport
    from ...common.console import Bar

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class StreamsOptions:
    """Options of ``muqrt bench streams``."""

    server: Annotated[
        str | None, typer.Option(help="Test a Triton server: host:port of its gRPC.")
    ] = None
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            "-b",
            help="Test the engine alone, in this process; muq-mini, which comes with muqrt, by "
            "default.",
        ),
    ] = None
    ca: Annotated[
        Path | None, typer.Option(help="Authority of the server's certificate, PEM, for TLS.")
    ] = None
    token: Annotated[
        str | None, typer.Option(help="Token that the server asks for; rather set MUQRT_TOKEN.")
    ] = None
    model: Annotated[str, typer.Option(help="Name of the live model.")] = "muq_stream"
    artefact: Annotated[str | None, typer.Option(help="Artefact of the bundle to test.")] = None
    threads: Annotated[
        int | None, Ge(1), typer.Option(help="CPU threads of the bundle's engine.")
    ] = None
    streams: Annotated[int, typer.Option(help="Live streams at the same time.")] = 50
    seconds: Annotated[float, typer.Option(help="How long each stream lasts.")] = 60.0
    chunk_ms: Annotated[float, typer.Option(help="Audio in each request, milliseconds.")] = 100.0
    jitter_ms: Annotated[
        float, typer.Option(help="Delay each chunk by up to this many milliseconds.")
    ] = 20.0
    disconnect: Annotated[
        float, typer.Option(help="Share of streams that vanish once and return as new ones.")
    ] = 0.0
    burst: Annotated[
        float, typer.Option(help="Stall each stream's network for this many seconds, once in 10 s.")
    ] = 0.0
    seed: Annotated[int, Ge(0), typer.Option(help="Random seed.")] = 0
    churn: Annotated[
        int | None,
        Ge(1),
        typer.Option(
            help="Instead, open and close this many short streams as fast as possible, --streams "
            "at once; a third of them are killed without END."
        ),
    ] = None
    idle_seconds: Annotated[
        float, Ge(0), typer.Option(help="After --churn: how long killed streams may stay alive.")
    ] = 45.0
    audio: Annotated[
        list[Path] | None,
        typer.Option(help="Audio to play, repeatable; the clips of the package by default."),
    ] = None
    pid: Annotated[
        int | None, typer.Option(help="Measure memory and cores of this server process.")
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(help="The server's metrics, such as http://localhost:8002/metrics."),
    ] = None
    timeout_seconds: Annotated[
        float, Ge(0.1), Le(86400), typer.Option(help="Longest wait for one answer.")
    ] = 10.0
    output: Output = None

    def load(self) -> "Load":
        """The load on the streams."""
        from ...benchmarks.loadtest.plan import Load

        chunk_seconds, jitter_seconds = self.chunk_ms / 1e3, self.jitter_ms / 1e3
        lengths = (self.seconds, chunk_seconds, jitter_seconds)
        return Load(self.streams, *lengths, self.disconnect, self.burst, self.seed)

    def check(self) -> None:
        """Raise UsageError unless there is one thing to test, with options that are for it."""
        if self.bundle is not None and self.server is not None:
            raise UsageError("--server and --bundle are two things to test; choose one.")
        if self.server is not None and (self.artefact, self.threads) != (None, None):
            raise UsageError("--artefact and --threads are for --bundle; a server has its own.")
        for_servers = (self.churn, self.pid, self.metrics, self.ca, self.token)
        if self.server is None and any(each is not None for each in for_servers):
            raise UsageError("--churn, --pid, --metrics, --ca and --token are for --server.")


@commands.command()
@configured(StreamsOptions)
def streams(options: StreamsOptions, as_json: bool) -> None:
    """Measure how late the tags of many live streams come."""
    import_extra("loadtest", "psutil")
    from ...benchmarks.loadtest.run import load_engine

    load = options.load()
    options.check()
    check_output(options.output, charts_from="loadtest")
    steps = int(load.seconds) if options.churn is None else options.churn
    with progress("Load", steps) as bar:
        if options.server is not None:
            report = asyncio.run(_on_server(options, load, bar))
        else:
            audio = options.audio or ()
            where = (options.bundle or SHIPPED_BUNDLE, options.artefact, options.threads)
            report = load_engine(*where, load, audio, bar)
    publish(report, options.output, as_json)


def _on_server(
    options: StreamsOptions, load: "Load", bar: "Bar"
) -> "Coroutine[Any, Any, LoadReport]":
    from ...benchmarks.loadtest.run import Target, churn_server, load_server
    from ..place import Served

    assert options.server is not None
    watched = (options.pid, options.metrics)
    endpoint = Served(options.server, ca=options.ca, token=options.token).endpoint
    target = Target(endpoint, options.model, options.timeout_seconds, *watched)
    audio, churn = options.audio or (), options.churn
    if churn is None:
        return load_server(target, load, audio, bar)
    idle_seconds = options.idle_seconds
    return churn_server(target, churn, load.streams, idle_seconds, audio, bar, load.seed)
