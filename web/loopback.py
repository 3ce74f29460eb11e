"""Serves a site to browsers on this machine."""

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UsageError

ADDRESS = "127.0.0.1"
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder; says nothing on stderr."""

    def guess_type(self, path: str | PathLike[str]) -> str:
        """The system's table may be wrong of scripts, and then the page does not start."""
        return _TYPES.get(Path(path).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        """Let nothing that was written before be taken for this site."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def serve_folder(
    folder: Path, port: int = 0, handler: Callable[..., Handler] = Handler
) -> ThreadingHTTPServer:
    """A server on loopback that is ready for ``serve_forever``; its address is ``url_of``.

    Args:
        folder: what it serves.
        port: 0 picks a free one.
        handler: makes what answers a request.

    Raises:
        UsageError: another program listens on this port.
    """
    try:
        answering: Any = partial(handler, directory=str(folder))
        return ThreadingHTTPServer((ADDRESS, port), answering)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port, or 0 for "
            "any."
        ) from None


def url_of(server: ThreadingHTTPServer) -> str:
    """The address of its first page."""
    return f"http://{ADDRESS}:{server.server_address[1]}/"
