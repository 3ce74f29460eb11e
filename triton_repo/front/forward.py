"""The innermost: a request goes to the server, its answer comes back, both as they come."""

import asyncio

from .asgi import Receive, RefusedError, Scope, Send
from .limits import FrontLimits
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
                    return
                await connection.send_more(message.get("body", b""))
            await self._answer(connection, receive, send)
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

    async def _answer(self, connection: UpstreamConnection, receive: Receive, send: Send) -> None:
        # The client's end of its connection, or of our patience, ends the one to the server too.
        gone = asyncio.ensure_future(receive())

        def close(_: object) -> None:
            connection.close()

        gone.add_done_callback(close)
        loop = asyncio.get_running_loop()
        late = loop.call_later(self._limits.answer_seconds, connection.close)
        try:
            await connection.head()
        except ConnectionError as error:
            if gone.done():
                return
            if loop.time() >= late.when():
                raise RefusedError(504, "the model server did not answer in time") from error
            raise RefusedError(503, _GONE) from error
        else:
            start = {"status": connection.status, "headers": connection.headers}
            await send({"type": "http.response.start", **start})
            while (piece := await connection.piece()) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            late.cancel()
            gone.remove_done_callback(close)
            gone.cancel()
