"""What was asked and how it ended: a line for each request, and counts for the metrics."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..triton_repo.front.asgi import App, Message, Receive, RefusedError, Scope, Send, refuse
from .answers import TASKS

STREAM = "/v1/stream"
# Others are counted together: clients choose paths.
_COUNTED = {*TASKS, STREAM}

_log = logging.getLogger(__name__)


class Access:
    """The outermost part: notes every request.

    Args:
        app: the next.
        log: is given what is noted, without names of files, queries or audio; not noted when None.
    """

    def __init__(self, app: App, log: Callable[[dict[str, Any]], None] | None) -> None:
        self._app, self._log = app, log
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        begun, status = time.monotonic(), 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception:
            _log.exception("a request to %s failed", scope["path"])
            if not status:
                await refuse(scope, send_noted, RefusedError(500, "the gateway failed"))
        finally:
            self._note(scope, status, time.monotonic() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in _COUNTED else "other"
        self._requests[path, status] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]
        if self._log is not None:
            address = (scope.get("client") or ("unknown",))[0]
            self._log(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "client": scope["state"].get("client", address),
                    "method": scope.get("method", "GET"),
                    "path": scope["path"][:200],
                    "status": status,  # 0: the client went away
                    "seconds": round(seconds, 3),
                }
            )

    def metrics_text(self) -> str:
        """How many requests ended how, and how long they took, for Prometheus."""
        lines = [
            "# HELP muqrt_gateway_requests_total Requests, by path and status; 0: the client left",
            "# TYPE muqrt_gateway_requests_total counter",
        ]
        counted: Counter[str] = Counter()
        for (path, status), count in sorted(self._requests.items()):
            labels = f'path="{path}",status="{status}"'
            lines.append(f"muqrt_gateway_requests_total{{{labels}}} {count}")
            counted[path] += count
        lines += [
            "# HELP muqrt_gateway_request_seconds How long requests took, by path",
            "# TYPE muqrt_gateway_request_seconds summary",
        ]
        for path, count in sorted(counted.items()):
            labels = f'{{path="{path}"}}'
            lines.append(f"muqrt_gateway_request_seconds_sum{labels} {self._seconds[path]:.6f}")
            lines.append(f"muqrt_gateway_request_seconds_count{labels} {count}")
        return "\n".join(lines) + "\n"
