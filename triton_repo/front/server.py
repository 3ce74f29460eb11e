"""An ASGI application on uvicorn, within limits, in a thread of its own."""

import asyncio
import threading
import time
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...common.closing import Closing
from ...common.environment import import_extra
from ...common.network import local_host
from ...common.process.allocator import keep_freed_memory
from ...errors import ServerError
from ..server.ports import bound_socket
from .asgi import App
from .counters import FrontCounters
from .limits import FrontLimits
from .wire import bounded_protocol

if TYPE_CHECKING:
    from typing_extensions import Self

_START_SECONDS = 10.0
_POLL_SECONDS = 0.01
_KEPT_BYTES = 32 << 20  # pieces of audio come and go


@dataclass(frozen=True)
class Tls:
    """Files of a certificate, with its chain, and its key, both PEM."""

    certificate: Path
    key: Path


class WebServer(Closing):
    """Serves an application over HTTP; a context manager.

    Args:
        address: the interface to listen on.
        port: where to listen; a free port when 0.
        limits: of connections and requests.
        tls: the certificate; plain HTTP when None.
        drain_seconds: for requests in flight when it stops.

    Attributes:
        port: where it listens.

    Raises:
        ServerError: a port or the certificate cannot be used.
        MissingDependencyError: uvicorn is not installed.
    """

    kind: ClassVar[str]  # what errors call it
    extra: ClassVar[str] = "server"  # what has the packages that it needs

    def __init__(
        self, address: str, port: int, limits: FrontLimits, tls: Tls | None, drain_seconds: float
    ) -> None:
        self._uvicorn = import_extra(self.extra, "uvicorn", "httptools")
        self._address, self._limits, self._tls = address, limits, tls
        self._drain_seconds = drain_seconds
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._socket = bound_socket("http", address, port)
        self.port = self._socket.getsockname()[1]

    @abstractmethod
    def _application(self) -> tuple[App, FrontCounters, dict[str, Any]]:
        """What it serves, what counts the refusals of connections, and uvicorn's other options."""

    async def _serve(self) -> None:
        """Serve until it stops."""
        await self._server.serve(sockets=[self._socket])

    def __enter__(self) -> "Self":
        app, counters, options = self._application()
        config = self._uvicorn.Config(
            app,
            http=bounded_protocol(self._limits, counters),
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=self._drain_seconds,
            ssl_certfile=self._tls.certificate if self._tls else None,
            ssl_keyfile=self._tls.key if self._tls else None,
            **{"ws": "none", **options},
        )
        try:
            config.load()
        except OSError as error:  # of which ssl.SSLError is one
            self.close()
            raise ServerError(f"The certificate or its key cannot be used ({error}).") from error
        self._server = self._uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name=self.kind, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if self._failure is not None or time.monotonic() > deadline:
                self.close()
                if isinstance(self._failure, ServerError):
                    raise self._failure
                raise ServerError(f"The {self.kind} did not start ({self._failure}).")
            time.sleep(_POLL_SECONDS)
        return self

    @property
    def url(self) -> str:
        """Base URL of its HTTP endpoint."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{local_host(self._address)}:{self.port}"

    def check(self) -> None:
        """Raise ServerError if it has died."""
        if self._thread is None or not self._thread.is_alive():
            raise ServerError(f"The {self.kind} has ended ({self._failure}).")

    def wait(self, seconds: float) -> None:
        """Wait for so long, or until it dies; raises ServerError then."""
        if self._thread is not None:
            self._thread.join(seconds)
        self.check()

    def close(self) -> None:
        """Let requests in flight end, then stop. Calling it twice is harmless."""
        self._stop()
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def _stop(self) -> None:
        """Begin to stop."""
        if self._server is not None:
            self._server.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stopping.set)

    def _run(self) -> None:
        keep_freed_memory(_KEPT_BYTES)
        self._loop = loop = import_extra(self.extra, "uvloop").new_event_loop()
        try:
            loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            loop.close()
