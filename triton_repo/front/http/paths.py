"""Which of Triton's HTTP endpoints can be reached."""

import re
from collections.abc import Collection
from functools import lru_cache

from ..asgi import App, Receive, RefusedError, Scope, Send, refuse

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_MODEL = rf"/v2/models/{_NAME}(/versions/[0-9]+)?"
INFER = re.compile(_MODEL + "/infer")
HEALTH = re.compile(rf"/v2/health/(live|ready)|{_MODEL}/ready")
# What serving needs.
_OPEN = (
    ("GET", HEALTH),
    ("GET", re.compile(rf"/v2/?|{_MODEL}(/config|/stats)?|/v2/models/stats")),
    ("POST", re.compile("/v2/repository/index")),
    ("POST", INFER),
)
# What rules the server, by Triton's name for it.
_RESTRICTED = {
    "shared-memory": "/v2/(system|cuda)sharedmemory(/.*)?",
    "model-repository": f"/v2/repository/models/{_NAME}/(load|unload)",
    "trace": rf"/v2/trace/setting|{_MODEL}/trace/setting",
    "logging": "/v2/logging",
}
# Paths are few, and none is longer.
_REMEMBERED, _LONGEST_BYTES = 256, 1 << 10


def is_health(path: str) -> bool:
    """Whether a probe asks for the server's or a model's health."""
    return HEALTH.fullmatch(path) is not None


@lru_cache(_REMEMBERED)
def is_infer(path: str) -> bool:
    """Whether inference is asked for."""
    return INFER.fullmatch(path) is not None


class OpenPaths:
    """Passes on requests to what serving needs, and to what is allowed besides.

    Args:
        app: the next.
        allowed: of shared-memory, model-repository, trace and logging.
    """

    def __init__(self, app: App, allowed: Collection[str] = ()) -> None:
        self._app = app
        more = [re.compile(_RESTRICTED[name]) for name in allowed]
        opened = [*_OPEN, *((method, path) for path in more for method in ("GET", "POST"))]

        @lru_cache(_REMEMBERED)
        def methods(raw_path: bytes) -> set[str]:
            # As it was sent: an escaped path is none of these, and is not guessed at.
            path = raw_path.decode("ascii", "replace")
            return {method for method, pattern in opened if pattern.fullmatch(path)}

        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        path = scope["raw_path"]
        methods = self._methods(path) if len(path) <= _LONGEST_BYTES else set()
        if scope["method"] in methods:
            return await self._app(scope, receive, send)
        if methods:
            allowed = sorted(methods)
            refused = RefusedError(405, f"use {' or '.join(allowed)}", ", ".join(allowed))
            return await refuse(scope, send, refused)
        await refuse(scope, send, RefusedError(404, "no such endpoint here"))
