"""Connections to the server behind the front, kept open between requests."""

import asyncio
from collections import deque
from typing import Any

from ....common.environment import import_extra

_HIGH_WATER_BYTES = 1 << 20
# What may wait to be sent; it counts among what is on its way anyway, and a pause costs more.
_WRITE_BYTES = 4 << 20
# What belongs to one connection, and not to the answer.
_OF_A_CONNECTION = {b"connection", b"keep-alive", b"transfer-encoding", b"content-type-options"}


class Upstream:
    """The server's address, and the connections to it that are free."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.host_header = f"{host}:{port}".encode()
        self._free: list[UpstreamConnection] = []
        self._parser = import_extra("server", "httptools").HttpResponseParser

    async def take(self) -> "UpstreamConnection":
        """A connection; raises OSError if the server cannot be reached."""
        while self._free:
            connection = self._free.pop()
            if connection.is_free:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(self._parser), self._host, self._port
        )
        return connection

    def give_back(self, connection: "UpstreamConnection") -> None:
        """Keep a connection for the next request, or close it where it is in the midst of one."""
        if connection.is_free:
            self._free.append(connection)
        else:
            connection.close()


class UpstreamConnection(asyncio.Protocol):
    """One connection, for one request at a time.

    Attributes:
        status, headers: of the answer, once ``head`` has returned.
        is_free: no request is under way, and another may be sent.
        is_lost: the server has closed it.
        source: of what ``write`` is given: pauses and resumes it.
    """

    def __init__(self, parser: Any) -> None:
        self._new_parser = parser
        self.is_free, self.is_lost = True, False
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._news = asyncio.Event()
        self.source: Any = None

    def write(self, data: bytes) -> None:
        """Send more of the request's body, from a source that stops when there is no room. When the
        server has gone away it goes nowhere; ``head`` says so."""
        if not self.is_lost:
            self._transport.write(data)

    def send(self, head: bytes, body: bytes) -> None:
        """Begin a request: its head, and what there is of its body."""
        self.is_free, self._whole, self._has_head = False, False, False
        self._is_late = False
        self.source = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._body: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._parser = self._new_parser(self)
        self._news.clear()
        self._transport.writelines([head, body])

    async def send_more(self, data: bytes) -> None:
        """Send more of the request's body, when there is room for it."""
        self.write(data)
        if not self._resumed.is_set():
            await self._resumed.wait()

    async def head(self) -> None:
        """Wait for the answer's head.

        Raises:
            ConnectionError: the server has gone away before.
            TimeoutError: ``expire`` was called before; that says so once.
        """
        while not self._has_head:
            if self.is_lost:
                raise ConnectionResetError("the server went away")
            if self._is_late:
                self._is_late = False
                raise TimeoutError("the model server did not answer in time")
            self._news.clear()
            await self._news.wait()

    def expire(self) -> None:
        """Say that the answer takes too long."""
        self._is_late = True
        self._news.set()

    async def piece(self) -> bytes | None:
        """The next piece of the answer's body, None at its end; ConnectionError as ``head``."""
        while not self._body:
            if self._whole:
                return None
            if self.is_lost:
                raise ConnectionResetError("the server went away")
            self._news.clear()
            await self._news.wait()
        piece = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if self._waiting_bytes > _HIGH_WATER_BYTES and not self.is_lost:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return piece

    @property
    def is_over(self) -> bool:
        """No more of the answer's body follows what ``piece`` has given."""
        return self._whole and not self._body

    def close(self) -> None:
        """Close the connection, and with it the request."""
        self.source, self.is_free = None, False
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Asyncio's."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BYTES)

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio's."""
        self.is_lost, self.is_free = True, False
        self._resumed.set()
        self._news.set()
        source, self.source = self.source, None
        if source is not None:
            source.resume_reading()  # the rest of the body goes nowhere

    def eof_received(self) -> None:
        """Asyncio's."""
        self.is_lost, self.is_free = True, False
        self._transport.abort()  # closing would wait until all is sent, which nobody may read

    def pause_writing(self) -> None:
        """Asyncio's."""
        self._resumed.clear()
        if self.source is not None:
            self.source.pause_reading()

    def resume_writing(self) -> None:
        """Asyncio's."""
        self._resumed.set()
        if self.source is not None:
            self.source.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Asyncio's."""
        if self.is_free:  # an answer to nothing
            return self.close()
        try:
            self._parser.feed_data(data)
        except Exception:  # of httptools, which may be absent where this is imported
            self.is_lost = True
            self.close()
        self._news.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's."""
        if name.lower() not in _OF_A_CONNECTION:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The parser's."""
        if self._parser.get_status_code() >= 200:
            self.status = self._parser.get_status_code()
            self._has_head = True

    def on_body(self, body: bytes) -> None:
        """The parser's."""
        self._body.append(body)
        before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + len(body)
        if before <= _HIGH_WATER_BYTES < self._waiting_bytes:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The parser's."""
        if self._has_head:
            self._whole = True
            # After some errors Triton closes the connection without a word about it before.
            keeps = self._parser.should_keep_alive() and self.status < 400
            self.is_free = keeps and not self.is_lost
