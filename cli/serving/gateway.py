"""``muqrt gateway``."""

import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...common.console import Json, show
from ...common.interrupts import ENDING_SIGNALS, interrupt
from ...errors import UsageError
from ..ending import at_its_own_pace
from ..options import WhereForFiles
from ..parameters import expand_options
from ..place import Served
from .listening import Listening

if TYPE_CHECKING:
    from ...gateway.server import Backend, Gateway
    from ...runtime.engines.session import Session
    from ..place import Local

_LOOK_SECONDS = 0.2
# With a server the work here is decoding, which waits for the server in between.
_RUNNING_WITH_SERVER = 16

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class ListeningForUploads(Listening):
    """``Listening`` with the gateway's own default."""

    max_running: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests with files that are decoded and answered at once: by default 16 with "
            "--server, one for each thread with --bundle.",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate with its chain, PEM, for HTTPS.")
    ] = None


@commands.command()
@expand_options
def gateway(
    where: WhereForFiles,
    listening: ListeningForUploads,
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")] = 8080,
    max_upload_mib: Annotated[
        int, typer.Option(min=1, max=65_536, help="Longest body of a request, in MiB.")
    ] = 256,
    max_streams: Annotated[
        int, typer.Option(min=1, max=10_000, help="Live streams at once; a client may have half.")
    ] = 32,
    stream_model: Annotated[
        str, typer.Option(help="Model for live sound on the server.")
    ] = "muq_stream",
    max_seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="Longest audio of a file, in seconds.")
    ] = 3600.0,
    answer_seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="Longest time for an answer.")
    ] = 600.0,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may ask, such as https://music.example; * is every page. "
            "Repeatable."
        ),
    ] = None,
    allow_urls: Annotated[
        bool,
        typer.Option(
            "--allow-urls", help="Fetch the files of http(s) addresses that clients name."
        ),
    ] = False,
    allow_private_urls: Annotated[
        bool,
        typer.Option(
            "--allow-private-urls", help="Also from this machine and from private networks."
        ),
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option(help="Folder of static files to serve, such as muqrt web writes."),
    ] = None,
    exit_seconds: Annotated[
        int, typer.Option(min=0, help="Time for requests and streams when the gateway stops.")
    ] = 10,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line of JSON for each request to stderr.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer uploads and live sound over HTTP until Ctrl-C.

    The model runs on this machine (--bundle) or on a Triton server (--server).
    """
    from ...gateway.limits import GatewayLimits
    from ...gateway.server import Gateway, GatewayConfig

    listening.check_address()
    if allow_private_urls and not allow_urls:
        raise UsageError("--allow-private-urls goes with --allow-urls.")
    if site is not None and not site.is_dir():
        raise UsageError(f"--site {site}: no such folder; write one with muqrt web.")
    place = where.place
    config = GatewayConfig(
        limits=GatewayLimits(
            upload_bytes=max_upload_mib << 20,
            audio_seconds=max_seconds,
            answer_seconds=answer_seconds,
            streams=max_streams,
        ),
        admission=listening.admission(_running(place)),
        tokens=listening.tokens,
        tls=listening.tls,
        origins=allow_origin or (),
        allow_urls=allow_urls,
        allow_private_urls=allow_private_urls,
        site=site,
        log=_write_line if access_log else None,
        drain_seconds=exit_seconds,
    )
    previous = {each: signal.signal(each, interrupt) for each in ENDING_SIGNALS}
    try:
        with at_its_own_pace(), ExitStack() as stack:
            session = stack.enter_context(place.open_session())
            backend = _backend(place, session, where.batch_size, stream_model)
            served = stack.enter_context(Gateway(backend, listening.address, port, config))
            _announce(served, as_json)
            while True:
                served.wait(_LOOK_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _running(place: "Local | Served") -> int:
    if isinstance(place, Served):
        return _RUNNING_WITH_SERVER
    from ...runtime.engines.cpus import considerate_threads, physical_cores

    return place.threads or considerate_threads() or physical_cores()


def _backend(
    place: "Local | Served", session: "Session", batch_size: int, stream_model: str
) -> "Backend":
    from ...gateway.server import Backend
    from ...gateway.texts import local_texts, served_texts
    from ...runtime.text.encoder import open_text_encoder

    if isinstance(place, Served):
        model, server = place.model or "muq", place.endpoint
        texts = served_texts(server, model) if session.joint is not None else None
        return Backend(session, model, batch_size, texts, server, model, stream_model)
    bundle, threads = place.bundle, place.threads
    texts = local_texts(lambda: open_text_encoder(bundle, threads=threads))
    return Backend(session, place.model_name, batch_size, texts)


def _announce(served: "Gateway", as_json: bool) -> None:
    facts: dict[str, Any] = {"url": served.url, "model": served.backend.name}
    lines = [
        f"Serving {served.backend.name} at {served.url}",
        f"Try     curl --data-binary @song.mp3 {served.url}/v1/tags",
        "Stop with Ctrl-C.",
    ]
    show(as_json, facts, *lines)


def _write_line(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), file=sys.stderr, flush=True)
