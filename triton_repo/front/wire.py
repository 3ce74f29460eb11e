"""Limits that must hold before there is a request: on bytes, chunks, time and connections."""

from asyncio import TimerHandle, Transport
from typing import Any, Protocol

from ...common.environment import import_extra
from .counters import FrontCounters
from .limits import FrontLimits

# What may wait for the application: less than two readings, which would be joined.
_HIGH_WATER_BYTES = 128 << 10
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Pipe(Protocol):
    """Takes pieces of a body.

    Attributes:
        source: pauses and resumes what the pieces come from.
    """

    source: Any

    def write(self, data: bytes) -> None:
        """Take a piece."""


def bounded_protocol(limits: FrontLimits, counters: FrontCounters) -> type:
    """uvicorn's HTTP protocol within limits, for ``Config(http=...)``.

    Raises:
        MissingDependencyError: uvicorn or httptools is not installed.
    """
    base: Any = import_extra(
        "server", "uvicorn.protocols.http.httptools_impl", "httptools"
    ).HttpToolsProtocol
    new_parser = import_extra("server", "httptools").HttpRequestParser

    class BoundedProtocol(base):
        """One connection."""

        _timer: TimerHandle | None = None
        _in_headers = True
        _header_bytes = 0
        _chunks = 0
        _pipe: Pipe | None = None
        _left = 0  # of a body whose length was given
        _is_around = False  # the parser has not seen all of it

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._end(503, b"too many connections")
            else:
                self._within(limits.head_seconds, b"the headers took too long")

        def connection_lost(self, error: Exception | None) -> None:
            self._stop()
            super().connection_lost(error)

        def data_received(self, data: bytes) -> None:
            if self._in_headers:
                # Counted here: the parser shows a header only when it is complete. What arrives
                # together with the end of the headers counts as theirs, up to one reading.
                self._header_bytes += len(data)
                end = data.find(b"\r\n\r\n")
                length = self._header_bytes if end < 0 else self._header_bytes - len(data) + end
                if length > limits.header_bytes:
                    return self._end(431, b"the headers are too long")
            if self.transport.is_closing():
                return
            if self._pipe is not None and not self.cycle.body:
                self._pass_around(data, self._pipe)
            else:
                super().data_received(data)

        def _pass_around(self, data: bytes, pipe: Pipe) -> None:
            """Let a body go to its pipe past the parser, which would copy all audio; not its last
            piece, after which another parser begins with another request."""
            if len(data) < self._left:
                self._is_around = True
                self._left -= len(data)
                if not self.cycle.response_complete:
                    pipe.write(data)
            elif not self._is_around:
                super().data_received(data)
            else:
                last, following = data[: self._left], data[self._left :]
                self.on_body(last)
                self.parser = new_parser(self)
                self.on_message_complete()
                if following:
                    self.data_received(following)

        def on_message_begin(self) -> None:
            self._in_headers, self._header_bytes, self._chunks = True, 0, 0
            self._within(limits.head_seconds, b"the headers took too long")
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            if len(self.headers) >= limits.headers:
                return self._end(431, b"too many headers")
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_headers = False
            if self.transport.is_closing():
                return
            self._within(limits.body_seconds, b"the body took too long")
            self._pipe, self._left = None, _length(self.headers)
            self.scope["state"]["pipe_into"] = self._pipe_into
            super().on_headers_complete()

        def _pipe_into(self, pipe: Pipe) -> None:
            """Let what comes of the body, except for the last piece, go another way."""
            self._pipe = pipe
            pipe.source = self.flow

        def on_chunk_header(self) -> None:
            self._chunks += 1
            if self._chunks > limits.chunks:
                self._end(413, b"the body has too many chunks")

        def on_body(self, body: bytes) -> None:
            cycle = self.cycle
            if self.transport.is_closing() or cycle.response_complete:
                return
            self._left -= len(body)
            if self._pipe is not None and self._left > 0 and not cycle.body:
                self._pipe.write(body)
                return
            # As uvicorn does, but bytes stay bytes: appending to a bytearray, and taking bytes from
            # it, would copy all audio twice.
            cycle.body = bytes(cycle.body) + body if cycle.body else body
            if len(cycle.body) > _HIGH_WATER_BYTES:
                self.flow.pause_reading()
            cycle.message_event.set()

        def on_message_complete(self) -> None:
            self._in_headers, self._header_bytes = True, 0
            self._pipe, self._is_around = None, False
            self._stop()
            if not self.transport.is_closing():
                super().on_message_complete()

        def send_400_response(self, reason: str) -> None:
            self._end(400, reason.encode())

        def _within(self, seconds: float, reason: bytes) -> None:
            self._stop()
            self._timer = self.loop.call_later(seconds, self._end, 408, reason)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _end(self, status: int, reason: bytes) -> None:
            """Answer, unless an answer has begun, and close the connection."""
            self._stop()
            if self.transport.is_closing():
                return
            counters.refuse(status)
            between = self.cycle is None or (self.cycle.response_complete and self._in_headers)
            if between or not (self.cycle.response_started or self.cycle.response_complete):
                body = b'{"error":"%s"}' % reason
                self.transport.write(
                    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%s" % (status, _REASONS[status], len(body), body)
                )
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.close()

    return BoundedProtocol


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """The body's length as given; 0 if it is not."""
    given = [value for name, value in headers if name == b"content-length" and value.isdigit()]
    return int(given[0]) if len(given) == 1 else 0
