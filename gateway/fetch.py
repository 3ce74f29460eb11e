"""Fetch the files of addresses that clients name, and nothing from inside the network."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from ipaddress import ip_address, ip_network
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from ..common.network import http_opener
from ..triton_repo.front.asgi import RefusedError
from .uploads import Upload, shown_name, telling_of_full_disks

_TIMEOUT_SECONDS = 10.0
_PIECE_BYTES = 64 << 10
_LONGEST_ADDRESS_CHARACTERS = 2_000
# IPv4 addresses behind a translator, private ones too.
_TRANSLATED = ip_network("64:ff9b::/96")


class _InsideError(OSError):
    """An address of this machine, or of its network."""


class Fetcher:
    """Fetches files over http and https, without a proxy.

    Every connection, a redirection's too, goes to the address that was checked: a name that
    means another one the next time does not help.

    Args:
        most_bytes: of one file.
        most_seconds: for one file.
        allow_inside: also fetch from this machine and private networks.
    """

    def __init__(self, most_bytes: int, most_seconds: float, allow_inside: bool = False) -> None:
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self._opener = _opener(allow_inside)

    def fetch(self, url: str, path: Path, given_up: Event) -> Upload:
        """Fetch one file.

        Raises:
            RefusedError: it cannot be had, is too long, or lies where nothing is fetched from.
        """
        deadline = time.monotonic() + self._most_seconds
        if given_up.is_set():
            raise RefusedError(408, f"{url}: did not come in time")
        if len(url) > _LONGEST_ADDRESS_CHARACTERS or not url.isascii() or not url.isprintable():
            raise RefusedError(400, "an address must be printable ASCII, and not longer than 2000")
        try:
            name = shown_name(unquote(urlsplit(url).path))
            request = Request(url, headers={"User-Agent": "muqrt"})
            with (
                telling_of_full_disks(),
                _until(deadline),
                self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response,
                path.open("wb") as file,
            ):
                size = 0
                while piece := response.read1(_PIECE_BYTES):
                    size += len(piece)
                    if size > self._most_bytes:
                        mib = self._most_bytes >> 20
                        raise RefusedError(413, f"{url}: longer than {mib} MiB")
                    if time.monotonic() > deadline or given_up.is_set():
                        raise RefusedError(408, f"{url}: did not come in time")
                    file.write(piece)
                if time.monotonic() > deadline:  # cut off, which looks like its end
                    raise RefusedError(408, f"{url}: did not come in time")
        except _InsideError:
            raise RefusedError(403, f"{url}: nothing is fetched from private addresses") from None
        except (OSError, HTTPException, ValueError) as error:
            cause = getattr(error, "reason", None)
            if isinstance(cause, _InsideError):
                raise RefusedError(
                    403, f"{url}: nothing is fetched from private addresses"
                ) from None
            if time.monotonic() > deadline:
                raise RefusedError(408, f"{url}: did not come in time") from None
            raise RefusedError(422, f"{url}: cannot be fetched") from None
        if not size:
            raise RefusedError(422, f"{url}: the file is empty")
        return Upload(path, name)


# The connections of a thread's fetch.
_open = threading.local()


@contextmanager
def _until(deadline: float) -> Iterator[None]:
    """Cut off this thread's connections then: a timeout begins anew with every byte of a head."""
    connections: list[socket.socket] = []
    _open.connections, _open.deadline = connections, deadline

    def cut() -> None:
        for each in connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline - time.monotonic(), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for each in connections:
            each.close()


def _connected(allow_inside: bool) -> Callable[..., socket.socket]:
    """``socket.create_connection``, to addresses that are allowed."""

    def connect(
        address: tuple[str, int], timeout: float | None = None, source: Any = None
    ) -> socket.socket:
        host, port = address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        numbers = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not allow_inside and not all(map(is_outside, numbers)):
            raise _InsideError(host)
        connection = socket.create_connection((numbers[0], port), timeout)
        _open.connections.append(connection.dup())  # TLS takes the socket itself over
        if time.monotonic() > _open.deadline:  # a redirection's, after the others were cut off
            connection.close()
            raise TimeoutError
        return connection

    return connect


def is_outside(number: str) -> bool:
    """Whether an IP address is one of the public network."""
    found = ip_address(number.partition("%")[0])
    if found in _TRANSLATED:
        return False
    inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (inner is None or is_outside(str(inner)))


def _opener(allow_inside: bool) -> OpenerDirector:
    connect = _connected(allow_inside)

    class Plain(http.client.HTTPConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._create_connection = connect

    class Secure(http.client.HTTPSConnection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._create_connection = connect

    class PlainHandler(HTTPHandler):
        def http_open(self, request: Request) -> Any:
            return self.do_open(Plain, request)

    class SecureHandler(HTTPSHandler):
        def https_open(self, request: Request) -> Any:
            return self.do_open(Secure, request, context=ssl.create_default_context())

    return http_opener(PlainHandler(), SecureHandler())
