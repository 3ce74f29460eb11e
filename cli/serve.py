"""``muqrt repository`` and ``muqrt serve``."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import Json, show
from ..common.network import is_loopback
from ..errors import UsageError
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
        str,
        typer.Option(help="Interface to listen on; others than loopback need --allow-remote."),
    ] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Let --address open the server to the network."),
    ] = False,
    allow_shared_memory: Annotated[
        bool,
        typer.Option(
            "--allow-shared-memory",
            help="Let clients register shared memory. They can then read and write the server's.",
        ),
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(help="File for the server's log; a temporary one by default. - is stderr."),
    ] = None,
    exit_seconds: Annotated[
        int, typer.Option(min=0, help="Time for requests in flight when the server stops.")
    ] = 10,
    triton_argument: Annotated[
        list[str] | None,
        typer.Option(help="Further argument of tritonserver, such as --log-verbose=1. Repeatable."),
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
    from ..triton_repo.server.metrics import MetricsEndpoint
    from ..triton_repo.server.process import Server
    from ..triton_repo.server.supervisor import Supervisor

    _check_address(address, allow_remote, allow_shared_memory)
    more = list(triton_argument or [])
    more += [f"--cache-config=local,size={cache_mib << 20}"] if cache_mib else []
    more += ["--rate-limit=execution_count"] if rate_limit else []
    # A service manager's SIGTERM and a closed terminal end the server as Ctrl-C does.
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        with (
            at_its_own_pace(),
            MetricsEndpoint(address, metrics_port) as metrics,
            Server(
                models,
                http_port,
                grpc_port,
                None,
                address,
                log_file,
                exit_timeout_seconds=exit_seconds,
                more_arguments=more,
                metrics_address="127.0.0.1",
                allow_shared_memory=allow_shared_memory,
            ) as server,
            Supervisor(server) as supervisor,
        ):
            metrics.add(server.metrics_text)
            metrics.add(supervisor.metrics_text)
            _announce(server, metrics.url, as_json)
            supervisor.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _check_address(address: str, allow_remote: bool, allow_shared_memory: bool) -> None:
    """Refuse to open the server to the network by mistake."""
    if is_loopback(address):
        return
    if not allow_remote:
        raise UsageError(
            f"--address {address} opens the server to the network: everyone who reaches it can use "
            "the models. Add --allow-remote if that is what you want."
        )
    if allow_shared_memory:
        raise UsageError("--allow-shared-memory is for clients on this machine: no --allow-remote.")
    typer.echo(
        f"Warning: everyone who reaches {address} can use the models. What to put in front: "
        "docs/security.md.",
        err=True,
    )


def _announce(server: "Server", metrics_url: str, as_json: bool) -> None:
    states = server.models()
    facts = {
        "grpc": server.grpc_url,
        "http": server.http_url,
        "metrics": metrics_url,
        "models": states,
        "log": str(server.log),
        "pid": server.pid,
    }
    lines = [
        f"Serving {', '.join(f'{name} ({state})' for name, state in states.items())}",
        f"gRPC     {server.grpc_url}",
        f"HTTP     {server.http_url}",
        f"metrics  {metrics_url}",
        f"log      {server.log}",
        "Stop with Ctrl-C.",
    ]
    show(as_json, facts, *lines)
