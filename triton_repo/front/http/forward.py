"""The innermost: a request goes to the server, its answer comes back, both as they come."""

import asyncio

from ..asgi import Message, Receive, RefusedError, Scope, Send, refuse
from ..keys import without_keys
from ..limits import FrontLimits
from .upstream import Upstream, UpstreamConnection

# Of a request's headers the server sees these and no others. Not the type of the body, which it
# needs for nothing: given that of a form, it parses the body as one.
_PASSED = {b"accept-encoding", b"inference-header-content-length", b"traceparent", b"tracestate"}
_GONE = "the model server cannot be reached, or went away; try again later"


class Forward:
    """Passes requests to the server."""

    def __init__(self, upstream: Upstream, limits: FrontLimits) -> None:
        self._upstream, self._limits = upstream, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; raises RefusedError if the server does not answer it."""
        message = await receive()
        if message["type"] != "http.request":
            return
        try:
            connection = await self._upstream.take()
        except OSError as error:
            raise RefusedError(503, _GONE) from error
        try:
            connection.send(self._head(scope), message.get("body", b""))
            if message.get("more_body") and "pipe_into" in scope["state"]:
                # Around the middlewares, which have seen what they need and wait for the end.
                scope["state"]["pipe_into"](connection)
            while message.get("more_body"):
                message = await receive()
                if message["type"] != "http.request":
                    # Answered or not: another request would be taken for the rest of this one.
                    connection.is_free = False
                    return
                await connection.send_more(message.get("body", b""))
            await self._answer(connection, scope, send)
        finally:
            self._upstream.give_back(connection)

    def _head(self, scope: Scope) -> bytes:
        lines = [
            b"%s %s HTTP/1.1" % (scope["method"].encode(), scope["raw_path"]),
            b"host: " + self._upstream.host_header,
        ]
        if scope["method"] == "POST":
            lines.append(b"content-type: application/octet-stream")
            lines.append(b"content-length: %d" % scope["state"]["length"])
        lines += [b"%s: %s" % (name, value) for name, value in scope["headers"] if name in _PASSED]
        return b"\r\n".join([*lines, b"", b""])

    async def _answer(self, connection: UpstreamConnection, scope: Scope, send: Send) -> None:
        """Pass the answer on. The server computes it even if the client has gone, so that it is
        waited for all the same: until then there is no room for another request."""
        late = asyncio.get_running_loop().call_later(self._limits.answer_seconds, connection.expire)
        try:
            try:
                await connection.head()
            except TimeoutError as error:
                await refuse(scope, send, RefusedError(504, str(error)))
                send = _nowhere
                await connection.head()
        except ConnectionError as error:
            if send is _nowhere:
                return
            raise RefusedError(503, _GONE) from error
        finally:
            late.cancel()
        start = {"status": connection.status, "headers": connection.headers}
        await send({"type": "http.response.start", **start})
        if connection.status >= 400:
            pieces = []
            while (piece := await connection.piece()) is not None:
                pieces.append(piece)
            body = without_keys(b"".join(pieces))
            return await send({"type": "http.response.body", "body": body})
        more = True
        while more:
            piece = await connection.piece() or b""
            more = not connection.is_over
            await send({"type": "http.response.body", "body": piece, "more_body": more})


async def _nowhere(_: Message) -> None:
    """Where the rest of an answer goes that came too late."""
