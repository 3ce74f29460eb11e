"""Endpoints that the front answers itself, in the place of Triton's or beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .asgi import App, Receive, Scope, Send, answer


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"


# Called in the front's event loop, for anybody: quick, and with nothing secret.
Responder = Callable[[], Answer]


class OwnEndpoints:
    """Answers GET requests for some paths, and passes on the others."""

    def __init__(self, app: App, endpoints: Mapping[str, Responder]) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        endpoint = self._endpoints.get(scope["path"]) if scope["method"] == "GET" else None
        if endpoint is None:
            return await self._app(scope, receive, send)
        found = endpoint()
        await answer(send, found.status, found.body, found.content_type)
