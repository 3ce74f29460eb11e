"""What every middleware of the front needs: ASGI's types, headers, and answers in Triton's form."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# For how long a client that was refused for want of room should wait.
RETRY_AFTER_SECONDS = 1


class RefusedError(Exception):
    """A request that is not passed on.

    Args:
        status: of the HTTP answer.
        reason: a line for the client.
        allow: the methods that are allowed, where another was used.
    """

    def __init__(self, status: int, reason: str, allow: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.allow = status, reason, allow


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, None if it is absent.

    Raises:
        RefusedError: it is there more than once, and readers may disagree on which counts.
    """
    found: bytes | None = None
    for key, value in scope["headers"]:
        if key == name:
            if found is not None:
                raise RefusedError(400, f"the header {name.decode()} is given more than once")
            found = value
    return found


def length_in(scope: Scope, name: bytes) -> int | None:
    """The number of bytes that a header gives, None if it is absent.

    Raises:
        RefusedError: it is no such number.
    """
    value = header(scope, name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise RefusedError(400, f"the header {name.decode()} must be a number of bytes")
    return int(value)


async def answer(
    send: Send,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send a whole response."""
    lines = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def refuse(scope: Scope, send: Send, refused: RefusedError) -> None:
    """Send a refusal. What is left of the body is read and forgotten, within the time for bodies:
    a connection that is closed on a client that still sends loses the answer, too."""
    scope["state"]["refused"] = refused.status
    headers = {}
    if refused.status in (429, 503):
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    if refused.allow is not None:
        headers["allow"] = refused.allow
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if any(name == b"expect" for name, _ in scope["headers"]):
        headers["connection"] = "close"  # the body may come or not
    body = json.dumps({"error": refused.reason}).encode()
    if scope["type"] == "websocket":
        send = _instead_of_a_socket(send)
    await answer(send, refused.status, body, headers=headers)


def _instead_of_a_socket(send: Send) -> Send:
    async def send_response(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return send_response
