"""``muqrt repository`` and ``muqrt serve``."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.console import Json, show
from ..common.environment import import_extra
from ..common.interrupts import ENDING_SIGNALS, interrupt
from ..common.network import is_loopback
from ..errors import UsageError
from .ending import at_its_own_pace
from .parameters import expand_options
from .repository.command import repository
from .serving.listening import LOOPBACK, Listening

if TYPE_CHECKING:
    from ..triton_repo.front.front import FrontConfig
    from ..triton_repo.front.own import Responder
    from ..triton_repo.server.process import Server
    from ..triton_repo.server.supervisor import Supervisor

_LOOK_SECONDS = 1.0
# Triton's version of release 25.06, with the last of three fixes.
_SURVIVES_CANCELLATION = (2, 59)
commands = typer.Typer()
commands.command()(repository)

_Port = Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")]


@commands.command()
@expand_options
def serve(
    models: Annotated[Path, typer.Argument(help="Model repository, written by muqrt repository.")],
    *,
    http_port: _Port = 8000,
    grpc_port: _Port = 8001,
    metrics_port: _Port = 8002,
    listening: Listening,
    allow_shared_memory: Annotated[
        bool,
        typer.Option(
            "--allow-shared-memory",
            help="Let clients register shared memory over gRPC: they can then read and write "
            "the server's.",
        ),
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(help="File for the server's log; a temporary one by default. - is stderr."),
    ] = None,
    exit_seconds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Time for requests in flight when the server stops; unloading the models takes up "
            "to 10 s more.",
        ),
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
    direct_grpc: Annotated[
        bool,
        typer.Option(
            "--direct-grpc",
            help="Let clients reach Triton's own gRPC: faster, but without tokens or admission. "
            "Needs Triton 25.06 or newer, which survives clients that give up.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run Triton on a model repository until Ctrl-C."""
    from ..triton_repo.front.front import Front, Grpc
    from ..triton_repo.server.installation import find_server
    from ..triton_repo.server.metrics import MetricsEndpoint
    from ..triton_repo.server.ports import usable_ports
    from ..triton_repo.server.process import Server
    from ..triton_repo.server.supervisor import Supervisor

    address = listening.address
    if allow_shared_memory and listening.allow_remote and not is_loopback(address):
        raise UsageError("--allow-shared-memory is for clients on this machine: no --allow-remote.")
    listening.check_address()
    front_config = _front_config(listening, exit_seconds)
    guarded = (listening.token_file, listening.max_running, listening.max_waiting)
    if direct_grpc and guarded != (None, None, None):
        raise UsageError(
            "--direct-grpc is Triton's own gRPC, which has neither tokens nor admission: leave out "
            "--token-file, --max-running and --max-waiting, or --direct-grpc."
        )
    if direct_grpc:
        _check_survives_cancellation(find_server().version)
    # Before the models are loaded: what stands in front of Triton listens only afterwards.
    wanted = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
    usable_ports({name: (address, port) for name, port in wanted.items()})
    more = list(triton_argument or [])
    more += [f"--cache-config=local,size={cache_mib << 20}"] if cache_mib else []
    more += ["--rate-limit=execution_count"] if rate_limit else []
    tls = front_config.tls
    if tls is not None and direct_grpc:
        more += ["--grpc-use-ssl=true", f"--grpc-server-cert={tls.certificate}"]
        more += [f"--grpc-server-key={tls.key}"]
    # A service manager's SIGTERM and a closed terminal end the server as Ctrl-C does.
    previous = {each: signal.signal(each, interrupt) for each in ENDING_SIGNALS}
    try:
        with (
            at_its_own_pace(),
            MetricsEndpoint(address, metrics_port) as metrics,
            Server(
                models,
                None,
                grpc_port if direct_grpc else None,
                None,
                address if direct_grpc else LOOPBACK,
                log_file,
                exit_timeout_seconds=exit_seconds,
                more_arguments=more,
                http_address=LOOPBACK,
                metrics_address=LOOPBACK,
                allow_shared_memory=allow_shared_memory,
            ) as server,
        ):
            if direct_grpc:
                _check_survives_cancellation(server.http.version())
            with (
                Supervisor(server) as supervisor,
                Front(
                    (LOOPBACK, server.http_port),
                    address,
                    http_port,
                    replace(
                        front_config,
                        own=_readiness(supervisor),
                        grpc=None if direct_grpc else Grpc(server.grpc_url, grpc_port),
                    ),
                ) as front,
            ):
                try:
                    metrics.add(server.metrics_text)
                    metrics.add(supervisor.metrics_text)
                    metrics.add(front.metrics_text)
                    supervisor.wait_until_ready()
                    urls = {
                        "grpc": front.grpc_url or server.grpc_url,
                        "http": front.url,
                        "metrics": metrics.url,
                    }
                    _announce(server, urls, as_json)
                    while True:
                        supervisor.wait(_LOOK_SECONDS)
                        front.check()
                finally:  # the front stops first, and the server in what it leaves of the time
                    server.exit_time.begin()
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _front_config(listening: Listening, exit_seconds: int) -> "FrontConfig":
    from ..triton_repo.front.front import FrontConfig

    # Before the models are loaded, which takes long.
    import_extra("server", "uvicorn", "httptools", "uvloop")
    return FrontConfig(
        admission=listening.admission(),
        tls=listening.tls,
        tokens=listening.tokens,
        drain_seconds=exit_seconds,
    )


def _check_survives_cancellation(version: tuple[int, ...] | None) -> None:
    """Refuse to let clients reach a server that dies when one gives up; None is not known."""
    if version is not None and version < _SURVIVES_CANCELLATION:
        raise UsageError(
            f"Triton {'.'.join(map(str, version))} can die when a client gives up on a gRPC "
            "request; leave out --direct-grpc, or put Triton of release 25.06 or later on PATH."
        )


def _readiness(supervisor: "Supervisor") -> "dict[str, Responder]":
    """The endpoints that say whether models answer; Triton's own say so of dead ones, too."""
    from ..triton_repo.front.own import Answer

    def status(is_ready: bool) -> Answer:
        return Answer(200 if is_ready else 503)

    models = {
        f"/v2/models/{name}/ready": lambda name=name: status(supervisor.model_is_ready(name))
        for name in supervisor.models
    }
    return {
        "/v2/health/ready": lambda: status(supervisor.is_ready),
        # What dies is restarted in here: nobody else needs to.
        "/v2/health/live": lambda: status(True),
        **models,
    }


def _announce(server: "Server", urls: dict[str, str], as_json: bool) -> None:
    states = server.models()
    facts = {
        **urls,
        "models": states,
        "log": str(server.log),
        "pid": server.pid,
    }
    lines = [
        f"Serving {', '.join(f'{name} ({state})' for name, state in states.items())}",
        f"gRPC     {urls['grpc']}",
        f"HTTP     {urls['http']}",
        f"metrics  {urls['metrics']}",
        f"log      {server.log}",
        "Stop with Ctrl-C.",
    ]
    show(as_json, facts, *lines)
