"""Inference requests are checked before they are passed on."""

import asyncio
from functools import lru_cache, partial

from ..asgi import App, Receive, RefusedError, Scope, Send, length_in
from ..bodies import replay
from ..limits import FrontLimits
from .infer_request import check_infer_request
from .paths import is_infer

HEAD_LENGTH = b"inference-header-content-length"
# Longer JSON is checked in a thread.
_AT_ONCE_BYTES = 64 << 10
# Shorter JSON, which describes binary data, is mostly the same as that of an earlier request.
_REPEATED_BYTES, _REMEMBERED = 2 << 10, 256
# Of other requests, which have an object or nothing in them.
_OTHER_BYTES = 4 << 10


class CheckedInference:
    """Passes on inference requests that are whole and consistent.

    Of a request with binary data only the JSON is waited for; the data follow as they come.
    """

    def __init__(self, app: App, limits: FrontLimits) -> None:
        self._app, self._limits = app, limits
        # What is refused raises, and so is not remembered.
        self._check_repeated = lru_cache(_REMEMBERED)(partial(check_infer_request, limits=limits))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; raises RefusedError for what is not passed on."""
        length = scope["state"]["length"]
        if not is_infer(scope["path"]):
            # A GET is passed on without a length: what came as its body would be another request.
            if length > (_OTHER_BYTES if scope["method"] == "POST" else 0):
                raise RefusedError(413, "this endpoint takes no such body")
            return await self._app(scope, receive, send)
        head_length = length_in(scope, HEAD_LENGTH)
        if head_length is None:
            head_length = length
        elif head_length > length:
            raise RefusedError(400, "Inference-Header-Content-Length is more than the body")
        elif head_length == 0:
            return await self._app(scope, receive, send)  # nothing but one tensor's data
        if head_length > self._limits.json_bytes:
            mib = self._limits.json_bytes >> 20
            raise RefusedError(413, f"JSON may have {mib} MiB; send long audio as binary data")
        pieces, gathered, more = [], 0, True
        while more and gathered < head_length:
            message = await receive()
            if message["type"] != "http.request":
                return
            pieces.append(message.get("body", b""))
            gathered += len(pieces[-1])
            more = message.get("more_body", False)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        head = body[:head_length]
        if head_length > _AT_ONCE_BYTES:
            await asyncio.to_thread(check_infer_request, head, length, self._limits)
        elif head_length > _REPEATED_BYTES:
            check_infer_request(head, length, self._limits)
        else:
            self._check_repeated(head, length)
        await self._app(scope, replay(body, receive, more), send)
