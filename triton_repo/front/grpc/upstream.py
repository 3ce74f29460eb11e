"""Calls to Triton's gRPC, each of which is finished.

Triton up to release 25.05 can die of a call that is cancelled: by its client, by its deadline, or
because a connection ends. So calls have no deadline here, and what waits for one may be cancelled,
but not the call.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from ..asgi import RefusedError

_Found = TypeVar("_Found")

Metadata = tuple[tuple[str, str | bytes], ...]
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # By default gRPC waits up to two minutes before it tries a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A request that is kept to be sent again takes memory and time; clients try again.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class GrpcUpstream:
    """A channel to Triton's gRPC, for one event loop.

    Args:
        grpc: the module.
        address: host and port.
    """

    def __init__(self, grpc: Any, address: str) -> None:
        self._aio = grpc.aio
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._methods: dict[str, Any] = {}
        self._unfinished: set[asyncio.Task[Any]] = set()

    @property
    def unfinished(self) -> int:
        """How many calls have not been answered, whether somebody waits for that or not."""
        return len(self._unfinished)

    def begin(self, method: str, request: bytes, metadata: Metadata) -> "asyncio.Task[bytes]":
        """Begin a unary call; its answer, which may be waited for in a shield."""
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(method)
        return self._kept(_answer(self._methods[method](request, metadata=metadata)))

    async def stream(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        metadata: Metadata,
        holding: Callable[[int], AbstractContextManager[None]],
        send: Callable[[bytes], Coroutine[Any, Any, None]],
        finished: Callable[[], None],
    ) -> None:
        """Pass a bidirectional stream on, until the server ends it.

        When this is cancelled, no more requests are passed on, and the answers to those that were
        go nowhere.

        Args:
            holding: counts a message of so many bytes while it is passed on, or refuses it.
            send: passes an answer to the client.
            finished: called when the server has ended the stream.

        Raises:
            grpc.aio.AioRpcError: the status with which the server ended it, if that is an error.
            RefusedError: ``holding`` has refused a message.
        """
        call = self._channel.stream_stream(method)(metadata=metadata)
        feeding = self._kept(_feed(requests, call, holding))
        reading = self._kept(call.read())
        try:
            while (answer := await _next(reading, feeding)) is not self._aio.EOF:
                await send(answer)
                reading = self._kept(call.read())
        finally:
            rest = self._kept(self._drain(call, feeding, reading))
            rest.add_done_callback(lambda _: finished())

    async def _drain(
        self, call: Any, feeding: "asyncio.Task[None]", reading: "asyncio.Task[Any]"
    ) -> None:
        feeding.cancel()
        await asyncio.wait({feeding})
        with suppress(self._aio.AioRpcError, asyncio.InvalidStateError):
            await call.done_writing()
            while await reading is not self._aio.EOF:
                reading = self._kept(call.read())

    async def close(self, seconds: float) -> None:
        """Wait for what is not finished, for so long, and close the channel."""
        deadline = time.monotonic() + seconds
        while self._unfinished and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._unfinished, timeout=left)
        await self._channel.close()

    def _kept(self, call: Coroutine[Any, Any, _Found]) -> "asyncio.Task[_Found]":
        task = asyncio.ensure_future(call)
        self._unfinished.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[Any]") -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else may be there to hear of it


async def _answer(call: Any) -> bytes:
    return bytes(await call)


async def _next(reading: "asyncio.Task[Any]", feeding: "asyncio.Task[None]") -> Any:
    """What is read next, unless a request is refused before."""
    if not feeding.done():
        await asyncio.wait({reading, feeding}, return_when=asyncio.FIRST_COMPLETED)
    refused = feeding.exception() if feeding.done() else None
    if isinstance(refused, RefusedError):  # any other is that of the server's end
        raise refused
    return await asyncio.shield(reading)


async def _feed(
    requests: AsyncIterator[bytes],
    call: Any,
    holding: Callable[[int], AbstractContextManager[None]],
) -> None:
    """Pass the client's requests on; when this is cancelled, none is left half written."""
    async for request in requests:
        with holding(len(request)):
            await _whole(call.write(request))
    await _whole(call.done_writing())


async def _whole(step: Coroutine[Any, Any, None]) -> None:
    """Await a step of a call to its end even if this is cancelled, which would cancel the call."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait({task})
