"""Endpoints that the front answers itself, in the place of Triton's or beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .asgi import App, Receive, Scope, Send, answer
from .counters import FrontCounters


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"


# Called in the front's event loop, for anybody: quick, and with nothing secret.
Responder = Callable[[], Answer]


class Counted:
    """Counts what is refused further in."""

    def __init__(self, app: App, counters: FrontCounters) -> None:
        self._app, self._counters = app, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._app(scope, receive, send)
        status = scope["state"].get("refused")
        if status is not None:
            self._counters.refuse(status)


class OwnEndpoints:
    """Answers GET requests for some paths, and passes on the others."""

    def __init__(self, app: App, endpoints: Mapping[str, Responder]) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        endpoint = self._endpoints.get(scope["path"]) if scope.get("method") == "GET" else None
        if endpoint is None:
            return await self._app(scope, receive, send)
        found = endpoint()
        await answer(send, found.status, found.body, found.content_type)
