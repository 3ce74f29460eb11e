"""Limits that must hold before there is a request: on bytes, chunks, time and connections."""

from asyncio import TimerHandle, Transport
from functools import partial
from math import inf
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


class AnswerWriter:
    """A transport for one answer: its head waits for the first piece of its body, so that both are
    one packet, which wakes the client once.

    Args:
        transport: the connection's.
        cycle: uvicorn's, which writes the answer.
    """

    def __init__(self, transport: Transport, cycle: Any) -> None:
        self._transport, self._cycle = transport, cycle
        self._has_begun, self._head = False, b""

    def write(self, data: bytes) -> None:
        """Asyncio's."""
        if self._head:
            self._transport.writelines([self._head, data])
            self._head = b""
        elif self._cycle.response_started and not self._has_begun:  # else 100 Continue
            self._has_begun, self._head = True, data
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Asyncio's."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Asyncio's."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()


def bounded_protocol(limits: FrontLimits, counters: FrontCounters) -> type:
    """uvicorn's HTTP protocol within limits, for ``Config(http=...)``.

    Raises:
        MissingDependencyError: uvicorn or httptools is not installed.
    """
    base: Any = import_extra(
        "server", "uvicorn.protocols.http.httptools_impl", "httptools"
    ).HttpToolsProtocol
    new_parser = import_extra("server", "httptools").HttpRequestParser
    look_seconds = min(limits.head_seconds, limits.body_seconds)

    class BoundedProtocol(base):
        """One connection."""

        _timer: TimerHandle | None = None
        _sending: TimerHandle | None = None  # until the client takes what it is sent
        _deadline: float | None = None  # of what is awaited from the client
        _latest = inf  # that it may become while a body comes
        _in_headers = True
        _header_bytes = 0
        _chunks = 0
        _pipe: Pipe | None = None
        _left = 0  # of a body whose length was given
        _is_around = False  # of the parser: it is in such a body
        _is_socket = False  # a WebSocket's from now on

        def connection_made(self, transport: Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._end(503, b"too many connections")
            else:
                self._within(limits.head_seconds, b"the headers took too long")

        def connection_lost(self, error: Exception | None) -> None:
            for timer in (self._timer, self._sending):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(error)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._sending = self.loop.call_later(limits.body_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._sending is not None:
                self._sending.cancel()

        def data_received(self, data: bytes) -> None:
            while data and not self.transport.is_closing():
                data = self._take_body(data) if self._is_around else self._take_heads(data)
            if self._is_socket:
                return
            if self._deadline is None and self.cycle is not None and self.cycle.response_complete:
                # The rest of a refused body, or empty lines: again nothing is under way.
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def timeout_keep_alive_handler(self) -> None:
            if self._deadline is None:  # else the rest of a refused body has its own time
                super().timeout_keep_alive_handler()

        def _take_heads(self, data: bytes) -> bytes:
            """Let the parser have what is no body of known length; the rest."""
            rest = b""
            if self._in_headers:
                # Counted here: the parser shows a header only when it is complete. What arrives
                # together with the end of the headers counts as theirs, up to one reading.
                self._header_bytes += len(data)
                end = data.find(b"\r\n\r\n")
                length = self._header_bytes if end < 0 else self._header_bytes - len(data) + end
                if length > limits.header_bytes:
                    self._end(431, b"the headers are too long")
                    return b""
                if end >= 0:
                    data, rest = data[: end + 4], data[end + 4 :]
            else:
                self._header_bytes += len(data)  # 0 again where some of the body is in it
            super().data_received(data)
            if not self._in_headers and self._header_bytes > limits.header_bytes:
                self._end(431, b"the headers of chunks, or those after them, are too long")
            if self._is_socket:
                if rest:  # before it knows whether it may
                    self.transport.close()
                return b""
            self._is_around = self._left > 0 and not self._in_headers
            if self._is_around or not rest or self.transport.is_closing():
                return rest
            super().data_received(rest)
            return b""

        def _take_body(self, data: bytes) -> bytes:
            """Let a body of known length past the parser, which would copy it; what follows it."""
            piece, following = data[: self._left], data[self._left :]
            self.on_body(piece)
            if not self._left:
                self._is_around = False
                self.parser = new_parser(self)
                self.on_message_complete()
            return following

        def on_message_begin(self) -> None:
            self._in_headers, self._header_bytes, self._chunks = True, 0, 0
            self._within(limits.head_seconds, b"the headers took too long")
            super().on_message_begin()

        def on_header(self, name: bytes, value: bytes) -> None:
            if len(self.headers) >= limits.headers:
                return self._end(431, b"too many headers")
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            if self.parser.should_upgrade() and _has_body(self.headers):
                # The parser takes what follows for another protocol's, or for another request.
                self._end(400, b"a request with a body cannot ask for an upgrade")
            if self.transport.is_closing():
                return
            self._within(limits.body_seconds, b"the body took too long")
            self._latest = self.loop.time() + limits.longest_body_seconds
            self._pipe, self._left = None, _length(self.headers)
            super().on_headers_complete()
            if self.parser.should_upgrade() and self._should_upgrade():
                return
            self._in_headers, self._header_bytes = False, 0
            self.scope["state"]["pipe_into"] = partial(self._pipe_into, self.cycle)
            if self.scope["method"] != "HEAD":  # whose answers have no body
                self.cycle.transport = AnswerWriter(self.transport, self.cycle)

        def handle_websocket_upgrade(self) -> None:
            self._is_socket, self._deadline = True, None
            for timer in (self._timer, self._sending):
                if timer is not None:
                    timer.cancel()
            super().handle_websocket_upgrade()

        def _pipe_into(self, cycle: Any, pipe: Pipe) -> None:
            """Let what comes of a request's body go another way."""
            if cycle is self.cycle and not self._in_headers:  # else another's would go there
                self._pipe = pipe
                pipe.source = self.flow

        def on_chunk_header(self) -> None:
            self._header_bytes = 0
            self._chunks += 1
            if self._chunks > limits.chunks:
                self._end(413, b"the body has too many chunks")

        def on_body(self, body: bytes) -> None:
            cycle = self.cycle
            self._header_bytes = 0
            self._left -= len(body)
            if self._deadline is not None and not cycle.response_complete:
                longer = self._deadline + len(body) / limits.body_bytes_per_second
                self._deadline = min(longer, self._latest)
            if self.transport.is_closing() or cycle.response_complete:
                return
            if self._pipe is not None and not cycle.body:
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
            self._pipe = self._deadline = None
            if not self.transport.is_closing():
                super().on_message_complete()

        def send_400_response(self, reason: str) -> None:
            self._end(400, reason.encode())

        def _within(self, seconds: float, reason: bytes) -> None:
            self._deadline, self._late = self.loop.time() + seconds, reason
            if self._timer is None:
                self._timer = self.loop.call_later(look_seconds, self._look)

        def _look(self) -> None:
            """See whether the deadline is past: a timer for each would cost more."""
            self._timer = None
            if self._deadline is None:
                return
            left = self._deadline - self.loop.time()
            if left <= 0:
                self._end(408, self._late)
            else:
                self._timer = self.loop.call_later(min(left, look_seconds), self._look)

        def _end(self, status: int, reason: bytes) -> None:
            """Answer, unless an answer has begun or is due to an earlier request, and close the
            connection."""
            self._deadline = None
            if self.transport.is_closing():
                return
            counters.refuse(status)
            cycle = self.cycle
            if self._in_headers:
                is_its_turn = cycle is None or cycle.response_complete
            else:
                is_its_turn = not (self.pipeline or cycle.response_started)
            if is_its_turn:
                body = b'{"error":"%s"}' % reason
                self.transport.write(
                    b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%s" % (status, _REASONS[status], len(body), body)
                )
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
            self.transport.close()

    return BoundedProtocol


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in headers
    )


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """The body's length as given; 0 if it is not."""
    given = [value for name, value in headers if name == b"content-length" and value.isdigit()]
    return int(given[0]) if len(given) == 1 else 0
