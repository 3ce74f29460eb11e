"""Live streams through a bundle in this process, for one event loop and any number at once."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...runtime.bundle.tagging import Tagging
from ...runtime.engines.session import Session, require_output
from ...runtime.streaming.engine import BATCH_SIZE, Hop, Push, Streaming
from ...runtime.streaming.stream import SlidingConfig

_Waiting = tuple[Push, "asyncio.Future[list[Hop] | Exception]"]


class LocalLive:
    """The interface of ``AsyncStreamingClient``, for a session in this process.

    A stream has one chunk waiting at most, and chunks take turns.

    Args:
        session: the model's; not closed with this object.

    Attributes:
        tagging: the tags' names and thresholds.
        sliding: the windows.

    Raises:
        BundleError: the model has no tags.
    """

    def __init__(self, session: Session) -> None:
        self.tagging = require_output(session, Tagging)
        self.sliding = SlidingConfig.every(session.framing, self.tagging)
        self._streaming = Streaming(session, self.sliding)
        self._pool = ThreadPoolExecutor(1, "gateway-live")
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def stream(
        self, chunks: AsyncIterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> AsyncGenerator[Hop, None]:
        """Yield the hops of one stream, from chunks (samples,) or (channels, samples)."""
        live = self._streaming.open(rate_hz, name)
        async for chunk in chunks:
            for hop in await self._push(Push(live, chunk)):
                yield hop
        for hop in await self._push(Push(live, None, is_last=True)):
            yield hop

    async def _push(self, push: Push) -> list[Hop]:
        place: asyncio.Future[list[Hop] | Exception]
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((push, place))
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        found = await place
        if isinstance(found, Exception):
            raise found
        return found

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            turn = [self._waiting.popleft() for _ in range(min(BATCH_SIZE, len(self._waiting)))]
            pushes = [push for push, _ in turn]
            found: Sequence[list[Hop] | Exception]
            try:
                found = await loop.run_in_executor(self._pool, self._streaming.advance, pushes)
            except Exception as error:  # else they would wait for ever
                found = [error] * len(turn)
            for (_, place), each in zip(turn, found, strict=True):
                if not place.done():
                    place.set_result(each)

    async def close(self) -> None:
        """End its thread."""
        self._pool.shutdown(wait=False)
