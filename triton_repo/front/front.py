"""The front: an HTTP server, and where it is needed a gRPC server, before Triton's."""

import asyncio
import ctypes
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common.closing import Closing
from ...common.environment import import_extra
from ...common.network import in_brackets, local_host
from ...errors import ServerError
from ..server.ports import bound_socket, port_error
from .admission import Admission, AdmissionConfig, Admitted
from .asgi import App
from .bodies import BoundedBodies, Buffered
from .checked import CheckedInference
from .counters import FrontCounters
from .forward import Forward
from .grpc.proxy import GrpcProxy
from .limits import FrontLimits
from .own import Counted, OwnEndpoints, Responder
from .paths import OpenPaths
from .tokens import BearerToken, Tokens
from .upstream import Upstream
from .wire import bounded_protocol

_START_SECONDS = 10.0
_POLL_SECONDS = 0.01
# Of mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20


@dataclass(frozen=True)
class Tls:
    """Files of a certificate, with its chain, and its key, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Grpc:
    """Where Triton's gRPC is, as host:port, and the port to listen on; any free one when 0."""

    upstream: str
    port: int = 0


@dataclass(frozen=True)
class FrontConfig:
    """How the front treats requests.

    Attributes:
        limits: of connections and requests.
        admission: of inference requests.
        tokens: that are asked for; none when None.
        tls: the certificate; plain HTTP when None.
        allowed: what rules the server and may be reached: of shared-memory, model-repository,
            trace and logging.
        own: paths that the front answers itself.
        grpc: that gRPC goes through the front, too; else it is Triton's own that clients reach.
        drain_seconds: for requests in flight when the front stops, HTTP's and gRPC's at once.
    """

    limits: FrontLimits = field(default_factory=FrontLimits)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    tokens: Tokens | None = None
    tls: Tls | None = None
    allowed: Collection[str] = ()
    own: Mapping[str, Responder] = field(default_factory=dict)
    grpc: Grpc | None = None
    drain_seconds: float = 10.0


def application(
    config: FrontConfig,
    upstream: Upstream,
    admission: Admission,
    buffered: Buffered,
    counters: FrontCounters,
) -> App:
    """The front as an ASGI application: its parts, from the innermost out."""
    app: App = Forward(upstream, config.limits)
    app = CheckedInference(app, config.limits)
    app = BoundedBodies(app, config.limits, buffered)
    app = Admitted(app, admission)
    app = BearerToken(app, config.tokens)
    app = OpenPaths(app, config.allowed)
    app = Counted(app, counters)
    return OwnEndpoints(app, config.own)


class Front(Closing):
    """An HTTP server before Triton's, in a thread of its own; a context manager.

    Args:
        upstream: host and port of Triton's HTTP.
        address: the interface to listen on.
        port: where to listen; a free port when 0.
        config: how it treats requests.

    Attributes:
        port: where it listens.
        grpc_port: where it listens for gRPC; 0 if it does not.

    Raises:
        ServerError: a port or the certificate cannot be used.
        MissingDependencyError: uvicorn is not installed.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        address: str = "127.0.0.1",
        port: int = 0,
        config: FrontConfig | None = None,
    ) -> None:
        self.config = config or FrontConfig()
        self._uvicorn = import_extra("server", "uvicorn", "httptools")
        self._upstream = upstream
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._address, self.grpc_port = address, 0
        self._socket = bound_socket("http", address, port)
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> "Front":
        upstream = Upstream(*self._upstream)
        self.admission = Admission(self.config.admission)
        self._buffered, self._counters = Buffered(self.config.limits), FrontCounters()
        tls = self.config.tls
        server = self._uvicorn.Config(
            application(self.config, upstream, self.admission, self._buffered, self._counters),
            http=bounded_protocol(self.config.limits, self._counters),
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=self.config.drain_seconds,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        try:
            server.load()
        except OSError as error:  # of which ssl.SSLError is one
            self.close()
            raise ServerError(f"The certificate or its key cannot be used ({error}).") from error
        self._server = self._uvicorn.Server(server)
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if self._failure is not None or time.monotonic() > deadline:
                self.close()
                if isinstance(self._failure, ServerError):
                    raise self._failure
                raise ServerError(f"The HTTP front did not start ({self._failure}).")
            time.sleep(_POLL_SECONDS)
        return self

    @property
    def url(self) -> str:
        """Base URL of its HTTP endpoint."""
        scheme = "https" if self.config.tls else "http"
        return f"{scheme}://{local_host(self._address)}:{self.port}"

    @property
    def grpc_url(self) -> str | None:
        """``host:port`` for ``TritonSession``; None where gRPC does not go through it."""
        return f"{local_host(self._address)}:{self.grpc_port}" if self.grpc_port else None

    def metrics_text(self) -> str:
        """What it has admitted and refused, in the text format of Prometheus."""
        return self._counters.metrics_text(self.admission)

    def check(self) -> None:
        """Raise ServerError if the front has died."""
        if self._thread is None or not self._thread.is_alive():
            raise ServerError(f"The HTTP front has ended ({self._failure}).")

    def close(self) -> None:
        """Let requests in flight end, then stop. Calling it twice is harmless."""
        if self._server is not None:
            self._server.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        _keep_memory()
        self._loop = loop = import_extra("server", "uvloop").new_event_loop()
        try:
            loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            loop.close()

    async def _serve(self) -> None:
        config = self.config
        if config.grpc is None:
            return await self._server.serve(sockets=[self._socket])
        tls = config.tls
        pair = (tls.certificate.read_bytes(), tls.key.read_bytes()) if tls else ()
        proxy = GrpcProxy(
            config.grpc.upstream,
            f"{in_brackets(self._address)}:{config.grpc.port}",
            config.limits,
            self.admission,
            self._buffered,
            self._counters,
            config.tokens,
            config.own,
            *pair,
        )
        try:
            self.grpc_port = await proxy.start()
        except RuntimeError as error:
            raise port_error("grpc", self._address, config.grpc.port, error) from error
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            await proxy.stop(config.drain_seconds)
        finally:
            await serving


def _keep_memory() -> None:
    """Let the allocator keep what it frees: pieces of audio come and go, and it would have the
    system clear each piece's pages anew, which costs more than all else about them."""
    with suppress(AttributeError, OSError):  # where it is not glibc's
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
        set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)
