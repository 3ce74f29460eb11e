"""``muqrt repository`` and ``muqrt serve``."""

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import Json, show
from .ending import at_its_own_pace
from .repository.command import repository

if TYPE_CHECKING:
    from ..triton_repo.server.process import Server

commands = typer.Typer()
commands.command()(repository)

_Port = Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")]


@commands.command()
def serve(
    models: Annotated[Path, typer.Argument(help="Model repository, written by muqrt repository.")],
    http_port: _Port = 8000,
    grpc_port: _Port = 8001,
    metrics_port: _Port = 8002,
    address: Annotated[
        str, typer.Option(help="Interface to listen on; 0.0.0.0 opens the server to the network.")
    ] = "127.0.0.1",
    log_file: Annotated[
        Path | None, typer.Option(help="File for the server's log; a temporary one by default.")
    ] = None,
    cache_mib: Annotated[
        int | None,
        typer.Option(min=1, help="MiB of memory for models with a response cache; 0 by default."),
    ] = None,
    rate_limit: Annotated[
        bool,
        typer.Option("--rate-limit", help="Make models take turns at the resources they share."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run Triton on a model repository until Ctrl-C."""
    from ..triton_repo.server.process import Server

    more = [f"--cache-config=local,size={cache_mib << 20}"] if cache_mib else []
    more += ["--rate-limit=execution_count"] if rate_limit else []
    # A service manager's SIGTERM and a closed terminal end the server as Ctrl-C does.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        with (
            at_its_own_pace(),
            Server(
                models, http_port, grpc_port, metrics_port, address, log_file, more_arguments=more
            ) as server,
        ):
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
