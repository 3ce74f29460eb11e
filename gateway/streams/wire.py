"""WebSockets within limits: clients that do not read are cut off."""

from asyncio import TimerHandle
from typing import Any

from ...common.environment import import_extra


def bounded_socket(patience_seconds: float) -> type:
    """uvicorn's WebSocket protocol, for ``Config(ws=...)``.

    Args:
        patience_seconds: for a client to take what it is sent.

    Raises:
        MissingDependencyError: uvicorn or websockets is not installed.
    """
    base: Any = import_extra(
        "web", "uvicorn.protocols.websockets.websockets_sansio_impl"
    ).WebSocketsSansIOProtocol

    class BoundedSocket(base):
        """One socket."""

        _sending: TimerHandle | None = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._sending = self.loop.call_later(patience_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._sending is not None:
                self._sending.cancel()

        def connection_lost(self, error: Exception | None) -> None:
            if self._sending is not None:
                self._sending.cancel()
            super().connection_lost(error)

    return BoundedSocket
