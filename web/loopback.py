"""Serves a site to browsers on this machine."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from os import PathLike
from pathlib import Path

from ..errors import UsageError

ADDRESS = "127.0.0.1"
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}


class _Handler(SimpleHTTPRequestHandler):
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


def serve_folder(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on loopback that is ready for ``serve_forever``; its address is ``url_of``.

    Raises:
        UsageError: another program listens on this port.
    """
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port, or 0 for "
            "any."
        ) from None


def url_of(server: ThreadingHTTPServer) -> str:
    """The address of its first page."""
    return f"http://{ADDRESS}:{server.server_address[1]}/"
