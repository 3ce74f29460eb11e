"""The gateway: an HTTP server between listeners and a model."""

import asyncio
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..common.environment import import_extra
from ..common.network import is_loopback
from ..errors import ServerError
from ..runtime.documents import vocabulary_document
from ..runtime.engines.session import Session
from ..triton_repo.client.connection import AsyncConnection
from ..triton_repo.client.endpoint import Endpoint
from ..triton_repo.client.streaming_async import AsyncStreamingClient
from ..triton_repo.front.admission import Admission, AdmissionConfig, Admitted
from ..triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send
from ..triton_repo.front.bodies import BoundedBodies, Buffered
from ..triton_repo.front.counters import FrontCounters
from ..triton_repo.front.own import Answer, Counted, OwnEndpoints, Responder
from ..triton_repo.front.server import Tls, WebServer
from ..triton_repo.front.tokens import BearerToken, Tokens
from .access import Access
from .answers import TASKS, Answers
from .endpoints import FileEndpoints
from .fetch import Fetcher
from .limits import GatewayLimits
from .openapi import openapi_document, page_of
from .origins import TokenInProtocol, allowing_origins
from .streams.endpoint import StreamEndpoint
from .streams.local import LocalLive
from .streams.session import Live
from .streams.wire import bounded_socket
from .texts import Texts

_PROBE_SECONDS = 1.0
_REASONS = {403: "origin", 422: "audio", 426: "path", 500: "failed", 507: "disk"}
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Backend:
    """Where the model runs.

    Attributes:
        session: the model's.
        name: what answers call it.
        batch_size: how many windows to run at once.
        texts: embeds texts beside a MuQ-MuLan's audio; None where there is no text tower.
        server: the server's gRPC endpoint; None where the session runs a bundle here.
        model: its name on the server.
        stream_model: the name of the model for live audio there.
    """

    session: Session
    name: str
    batch_size: int = 1
    texts: Texts | None = None
    server: Endpoint | None = None
    model: str = "muq"
    stream_model: str = "muq_stream"


@dataclass(frozen=True)
class GatewayConfig:
    """How the gateway treats requests.

    Attributes:
        limits: of connections, bodies and audio.
        admission: of requests with files.
        tokens: that are asked for; none when None.
        tls: the certificate; plain HTTP when None.
        origins: whose pages may ask, besides its own.
        allow_urls: whether addresses are fetched in place of files.
        allow_private_urls: also from this machine and private networks.
        site: folder of static files to serve.
        log: is given a line for each request; no log when None.
        drain_seconds: for requests and streams when it stops.
    """

    limits: GatewayLimits = field(default_factory=GatewayLimits)
    admission: AdmissionConfig = field(default_factory=lambda: AdmissionConfig(running=4))
    tokens: Tokens | None = None
    tls: Tls | None = None
    origins: Collection[str] = ()
    allow_urls: bool = False
    allow_private_urls: bool = False
    site: Path | None = None
    log: Callable[[dict[str, Any]], None] | None = None
    drain_seconds: float = 10.0


class Gateway(WebServer):
    """An HTTP server before a model, in a thread of its own; a context manager.

    Args:
        backend: where the model runs; its session is not closed with the gateway.
        address: the interface to listen on.
        port: where to listen; a free port when 0.
        config: how it treats requests.

    Attributes:
        port: where it listens.

    Raises:
        ServerError: a port or the certificate cannot be used.
        MissingDependencyError: the extra ``web`` is not installed.
    """

    kind = "gateway"
    extra = "web"

    def __init__(
        self,
        backend: Backend,
        address: str = "127.0.0.1",
        port: int = 0,
        config: GatewayConfig | None = None,
    ) -> None:
        self.config = config = config or GatewayConfig()
        import_extra("web", "python_multipart", "starlette", "websockets")
        self.backend = backend
        limits = config.limits.front
        super().__init__(address, port, limits, config.tls, config.drain_seconds)
        self._is_ready = backend.server is None
        self.admission = Admission(config.admission)

    def _application(self) -> tuple[App, FrontCounters, dict[str, Any]]:
        config, backend = self.config, self.backend
        limits, front = config.limits, config.limits.front
        self._counters = FrontCounters("gateway", _REASONS)
        self._pool = ThreadPoolExecutor(config.admission.running, "gateway")
        fetcher = None
        if config.allow_urls:
            fetcher = Fetcher(limits.upload_bytes, limits.answer_seconds, config.allow_private_urls)
        answers = Answers(backend.session, backend.name, limits, backend.batch_size, backend.texts)
        app: App = OwnEndpoints(_static(config.site), {"/v1/model": self._model_facts})
        app = FileEndpoints(app, answers, self._pool, limits, fetcher)
        app = BoundedBodies(app, front, Buffered(front), gathers=False)
        app = Admitted(app, self.admission, TASKS.__contains__)
        self._streams = StreamEndpoint(app, self._open_live, backend.name, limits)
        app = BearerToken(self._streams, config.tokens, lambda path: not path.startswith("/v1/"))
        app = TokenInProtocol(app)
        app = allowing_origins(app, config.origins, is_loopback(self._address))
        app = Counted(app, self._counters)
        app = OwnEndpoints(app, self._own())
        self._access = Access(app, config.log)
        sockets = {
            "ws": bounded_socket(front.body_seconds),
            "ws_max_size": limits.message_bytes,
            "ws_ping_interval": limits.ping_seconds,
            "ws_ping_timeout": limits.ping_seconds,
            "ws_per_message_deflate": False,  # sound is not shortened, and bombs are not unpacked
        }
        return self._access, self._counters, sockets

    async def _open_live(self) -> Live:
        backend = self.backend
        if backend.server is None:
            return LocalLive(backend.session)
        client: Live = await AsyncStreamingClient(backend.server, backend.stream_model).__aenter__()
        return client

    def _model_facts(self) -> Answer:
        """What pages ask first: whether they may, and the tags with their thresholds."""
        session = self.backend.session
        tagging, document = session.tagging, dict[str, Any](model=self.backend.name)
        if tagging is not None:
            document |= vocabulary_document(tagging) | {"groups": tagging.groups}
        elif session.joint is not None:  # clients name labels
            seconds = session.joint.clip_samples / session.framing.sample_rate_hz
            document |= {"task": "zero-shot", "vocabulary": [], "thresholds": {}, "groups": []}
            document["window_seconds"] = seconds
        return Answer(200, json.dumps(document, ensure_ascii=False).encode())

    def _own(self) -> dict[str, Responder]:
        """What is answered to anybody."""
        config = self.config
        document = openapi_document(config.limits, config.tokens is not None, config.allow_urls)
        whole = json.dumps(document).encode()
        page = page_of(document).encode()
        own: dict[str, Responder] = {
            "/healthz": lambda: Answer(200),
            "/readyz": lambda: Answer(200 if self.is_ready else 503),
            "/metrics": lambda: Answer(200, self.metrics_text().encode(), _TEXT),
            "/openapi.json": lambda: Answer(200, whole),
            "/docs": lambda: Answer(200, page, "text/html; charset=utf-8"),
        }
        if config.site is None:
            own["/"] = own["/docs"]
        return own

    @property
    def is_ready(self) -> bool:
        """Whether the model answers, as far as is known, and the gateway is not stopping."""
        return self._is_ready and not self._stopping.is_set()

    def metrics_text(self) -> str:
        """What was asked, admitted and refused, in the text format of Prometheus."""
        parts = self._access.metrics_text(), self._streams.metrics_text()
        return self._counters.metrics_text(self.admission) + "".join(parts)

    def _stop(self) -> None:
        # uvicorn, when it stops, closes sockets at once: streams are ended before.
        if self._loop is None:
            return super()._stop()
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        probing = asyncio.ensure_future(self._probe())
        serving = asyncio.ensure_future(super()._serve())
        stopping = asyncio.ensure_future(self._stopping.wait())
        ends: set[asyncio.Future[Any]] = {serving, stopping}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._streams.drain(self._drain_seconds)
            self._server.should_exit = True
            await serving
        finally:
            probing.cancel()
            self._pool.shutdown(wait=False)

    async def _probe(self) -> None:
        """Ask the server again and again whether it is ready."""
        backend = self.backend
        if backend.server is None:
            return
        connection = AsyncConnection(backend.server)
        try:
            while True:
                try:
                    self._is_ready = await connection.is_ready(backend.model, 2 * _PROBE_SECONDS)
                except ServerError:
                    self._is_ready = False
                await asyncio.sleep(_PROBE_SECONDS)
        finally:
            await connection.close()


def _static(site: Path | None) -> App:
    """What answers all other paths: the files of a site, or that there is nothing."""
    files: App | None = None
    if site is not None:
        files = import_extra("web", "starlette.staticfiles").StaticFiles(directory=site, html=True)
        missing = import_extra("web", "starlette.exceptions").HTTPException

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if files is None or scope["type"] != "http" or scope["path"].startswith("/v1/"):
            raise RefusedError(404, "no such endpoint here; /docs lists them")
        try:
            await files(scope, receive, send)
        except missing as error:
            allow = "GET, HEAD" if error.status_code == 405 else None
            raise RefusedError(error.status_code, "no such file here", allow) from None

    return app
