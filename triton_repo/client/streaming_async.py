"""``StreamingClient`` for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from typing import Any

import numpy as np

from ...errors import ServerError
from ...runtime.streaming.engine import Hop
from .connection import AsyncConnection
from .live_model import END_TIMEOUT_SECONDS, PASSING, LiveModel, rows_in
from .stream_state import ClientStream, StreamRequest


class AsyncStreamingClient(LiveModel):
    """A live model on a Triton server, for one event loop and any number of streams at once.

    An asynchronous context manager: entering it connects to the server and sets the attributes,
    leaving it ends the open streams. Arguments, attributes and errors are ``StreamingClient``'s.
    """

    _connection: AsyncConnection | None = None

    async def __aenter__(self) -> "AsyncStreamingClient":
        self._connection = AsyncConnection(self.url)
        try:
            call = self._connection.call
            self._describe(await call("get_model_config", self.model, self.timeout_seconds))
        except BaseException:
            await self.close()
            raise
        return self

    async def stream(
        self, chunks: AsyncIterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> AsyncGenerator[Hop, None]:
        """Send a stream and yield its hops, like ``StreamingClient.stream``.

        Close the generator with ``aclose`` (contextlib.aclosing) to end the stream at once;
        otherwise it ends when the client is closed or the generator is collected.
        """
        live = self._begin(rate_hz, name)
        try:
            async for chunk in chunks:
                live.append(chunk)
                async for hop in self._advance(live):
                    yield hop
            live.finish()
            async for hop in self._advance(live):
                yield hop
        finally:
            await self._end(live)

    async def _advance(self, live: ClientStream) -> AsyncGenerator[Hop, None]:
        while (request := live.next_request()) is not None:
            try:
                answer = await self._infer(request, self.timeout_seconds)
            except PASSING as error:
                await asyncio.sleep(live.failed(error))
            else:
                for hop in live.answered(request, *rows_in(answer)):
                    yield hop

    async def _infer(self, request: StreamRequest, timeout_seconds: float) -> Any:
        if self._connection is None:
            raise ServerError(
                "the client is not open; use it in: async with AsyncStreamingClient()"
            )
        arguments = self._arguments(request)
        return await self._connection.call("infer", self.model, timeout_seconds, **arguments)

    async def _end(self, live: ClientStream) -> None:
        self._streams.discard(live)
        if live.is_open:
            with suppress(ServerError):
                await self._infer(live.last_request(), END_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """End the open streams and close the connection. Calling it twice is harmless."""
        for live in list(self._streams):
            await self._end(live)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aexit__(self, *error: object) -> None:
        await self.close()
