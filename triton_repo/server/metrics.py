"""The metrics endpoint: Triton's own metrics, and after them the supervisor's.

Triton's is not reachable from outside, because a request with a body of some MB ends the server on
that port too. This one reads no bodies, and answers while Triton is away.
"""

from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any

from ...common.closing import Closing
from ...common.network import family_of, local_host
from ...errors import ServerError
from .ports import port_error

_PATH = "/metrics"
_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_MOST_CONNECTIONS = 32
_SOCKET_SECONDS = 5.0


class MetricsEndpoint(Closing):
    """Serves ``/metrics`` in threads of its own; a context manager.

    Args:
        address, port: where to listen; a free port when 0.
        sources: each gives some metrics in the text format of Prometheus; what cannot be had now
            (OSError, HTTPException, ServerError) is left out. ``add`` adds more.

    Attributes:
        port: where it listens.

    Raises:
        ServerError: the port cannot be used.
    """

    def __init__(self, address: str, port: int, *sources: Callable[[], str]) -> None:
        self._sources = list(sources)
        endpoint = self

        class Handler(_Handler):
            def text(self) -> str:
                return "".join(map(_available, endpoint._sources))

        class Listening(_Listening):
            address_family = family_of(address)

        try:
            self._server = Listening((address, port), Handler)
        except (OSError, OverflowError) as error:
            raise port_error("metrics", address, port, error) from error
        self._address, self.port = address, self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What Prometheus scrapes."""
        return f"http://{local_host(self._address)}:{self.port}{_PATH}"

    def add(self, source: Callable[[], str]) -> None:
        """Answer with these metrics too, from the next request on."""
        self._sources.append(source)

    def close(self) -> None:
        """Stop listening. Calling it twice is harmless."""
        self._server.shutdown()
        self._server.server_close()


def _available(source: Callable[[], str]) -> str:
    with suppress(OSError, HTTPException, ServerError):
        return source()
    return ""


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Beyond the usual 5 connections the kernel leaves a client waiting for a second or more.
    request_queue_size = 2 * _MOST_CONNECTIONS

    def server_activate(self) -> None:
        self._places = BoundedSemaphore(_MOST_CONNECTIONS)
        super().server_activate()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or said nothing in time."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _SOCKET_SECONDS

    def text(self) -> str:
        """The metrics."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer with the metrics."""
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404)
            return
        body = self.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", _FORMAT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged."""
