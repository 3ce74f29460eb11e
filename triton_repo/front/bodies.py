"""Bodies within limits, each with a length that is known before it is passed on."""

from collections.abc import Iterator
from contextlib import contextmanager

from .asgi import App, Message, Receive, RefusedError, Scope, Send, header, length_in, refuse
from .limits import FrontLimits


class Buffered:
    """The bytes of all requests that have not been answered, HTTP's and gRPC's, within limits."""

    def __init__(self, limits: FrontLimits) -> None:
        self._limits = limits
        self._total, self._held = 0, dict[str, int]()

    def take(self, client: str, size: int) -> None:
        """Count a request of this size until ``release``.

        Raises:
            RefusedError: there is too much already, of this client or of all.
        """
        total, held = self._total + size, self._held.get(client, 0) + size
        if total > self._limits.buffered_bytes or held > self._limits.client_buffered_bytes:
            raise RefusedError(429, "too much audio on its way at once; try again later")
        self._total = total
        if held:
            self._held[client] = held

    def release(self, client: str, size: int) -> None:
        """A request that was counted has been answered."""
        self._total -= size
        held = self._held.pop(client, 0) - size
        if held:
            self._held[client] = held

    @contextmanager
    def holding(self, client: str, size: int) -> Iterator[None]:
        """Count a request while the block runs; raises as ``take``."""
        self.take(client, size)
        try:
            yield
        finally:
            self.release(client, size)


class BoundedBodies:
    """Passes on requests whose bodies, all together, fit into the limits.

    A body sent in chunks is gathered first, and has a ``content-length`` from then on: what follows
    can rely on that header, and on ``scope["state"]["length"]``, its value.

    Args:
        app: the next.
        limits: of bodies.
        buffered: counts them.
        gathers: whether it does so; else such a body is passed on as it comes, with the length 0,
            and what reads it raises RefusedError when it gets too long.
    """

    def __init__(
        self, app: App, limits: FrontLimits, buffered: Buffered, gathers: bool = True
    ) -> None:
        self._app, self._limits, self._buffered = app, limits, buffered
        self._gathers = gathers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        try:
            if header(scope, b"content-encoding") not in (None, b"identity"):
                raise RefusedError(415, "compressed bodies are not taken; send it as it is")
            chunked = header(scope, b"transfer-encoding") is not None
            length = length_in(scope, b"content-length")
            size = self._limits.body_bytes if chunked else length or 0
            if size > self._limits.body_bytes:
                raise self._too_long()
            client = scope["state"]["client"]
            self._buffered.take(client, size)
            try:
                if chunked and not self._gathers:
                    receive = self._counted(receive)
                elif chunked:
                    body = await self._gather(receive)
                    if body is None:
                        return
                    length, receive = len(body), replay(body, receive)
                scope["state"]["length"] = length or 0
                await self._app(scope, receive, send)
            finally:
                self._buffered.release(client, size)
        except RefusedError as refused:
            await refuse(scope, send, refused)

    async def _gather(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise self._too_long()
            if not message.get("more_body"):
                return bytes(body)
        return None

    def _counted(self, receive: Receive) -> Receive:
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limits.body_bytes:
                raise self._too_long()
            return message

        return receive_counted

    def _too_long(self) -> RefusedError:
        mib = self._limits.body_bytes >> 20
        return RefusedError(413, f"a body may have {mib} MiB; send shorter or fewer waveforms")


def replay(body: bytes, receive: Receive, more: bool = False) -> Receive:
    """A ``receive`` that first gives what has been read.

    Args:
        body: what has been read.
        receive: gives the rest, or the end of the connection.
        more: the body has a rest.
    """
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": more}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again
