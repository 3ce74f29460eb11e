"""``muqrt repository`` and ``muqrt serve``."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import Json, show

if TYPE_CHECKING:
    from .server import Server

commands = typer.Typer()


@commands.command()
def repository(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Model repository to write the model into.")
    ],
    artefact: Annotated[
        str | None, typer.Option(help="Artefact to serve; the first certified one by default.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "muq",
    max_batch_size: Annotated[int, typer.Option(min=1, help="Largest batch in one run.")] = 4,
    queue_delay_ms: Annotated[
        float,
        typer.Option(min=0, max=60_000, help="How long a request waits for others to batch with."),
    ] = 2.0,
    queue_size: Annotated[
        int, typer.Option(min=1, help="Requests that may wait; more are rejected.")
    ] = 64,
    queue_timeout_s: Annotated[
        float,
        typer.Option(
            min=0.001, max=86_400, help="How long a request may wait before it is rejected."
        ),
    ] = 120.0,
    instances: Annotated[int, typer.Option(min=1, help="Copies of the model.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each copy; all cores by default.")
    ] = None,
    allow_uncertified: Annotated[
        bool, typer.Option(help="Serve an artefact without a passing parity certificate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle's artefact as a model of a Triton model repository."""
    from dataclasses import asdict

    from ..runtime.bundle import load_bundle
    from .config import ServingOptions
    from .repository import write_repository

    report = write_repository(
        load_bundle(bundle),
        output,
        artefact,
        allow_uncertified=allow_uncertified,
        model_name=model,
        options=ServingOptions(
            max_batch_size=max_batch_size,
            max_queue_delay_us=round(queue_delay_ms * 1e3),
            max_queue_size=queue_size,
            queue_timeout_us=round(queue_timeout_s * 1e6),
            instances=instances,
            threads=threads,
        ),
    )
    certified = "certified" if report.certified else "NOT certified"
    show(
        as_json,
        {**asdict(report), "repository": str(report.repository)},
        f"Wrote {report.repository / report.model}: {report.artefact} ({report.precision}, "
        f"{certified}), {report.size_bytes / 2**20:.1f} MiB.",
        "It runs on the CPU, on a GPU server too; for GPUs: muqrt export --target any."
        if report.target == "cpu"
        else "",
        f"Serve it with: muqrt serve {report.repository}",
    )


@commands.command()
def serve(
    models: Annotated[Path, typer.Argument(help="Model repository, from muqrt repository.")],
    http_port: Annotated[int, typer.Option(help="0 picks a free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="0 picks a free one.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="0 picks a free one.")] = 8002,
    address: Annotated[
        str, typer.Option(help="Interface to listen on; 0.0.0.0 opens the server to the network.")
    ] = "127.0.0.1",
    log_file: Annotated[
        Path | None, typer.Option(help="Where the server's log goes; a temporary file by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run Triton on a model repository until Ctrl-C."""
    from .server import Server

    # A service manager's SIGTERM and a closed terminal end the server as Ctrl-C does.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        with Server(models, http_port, grpc_port, metrics_port, address, log_file) as server:
            _announce(server, as_json)
            while True:
                server.check()
                time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _announce(server: "Server", as_json: bool) -> None:
    states = server.models()
    facts = {
        "grpc": server.grpc_url,
        "http": server.http_url,
        "metrics": server.metrics_url,
        "models": states,
        "log": str(server.log),
        "pid": server.pid,
    }
    lines = [
        f"Serving {', '.join(f'{name} ({state})' for name, state in states.items())}",
        f"gRPC     {server.grpc_url}",
        f"HTTP     {server.http_url}",
        f"metrics  {server.metrics_url}",
        f"log      {server.log}",
        "Stop with Ctrl-C.",
    ]
    show(as_json, facts, *lines)
