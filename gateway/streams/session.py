"""A live stream of a client's, which outlives the socket that it began on."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Protocol

import numpy as np

from ...errors import MuqrtError
from ...runtime.bundle.tagging import TAGS, Tagging
from ...runtime.streaming.documents import event_document, hop_document, segments_document
from ...runtime.streaming.engine import Hop
from ...runtime.streaming.events import Event, Silence, Smoothing, TagEvents
from ...triton_repo.front.asgi import RefusedError
from ..answers import refusal_of
from .sound import Decoder, Sound

# Messages that a client may still ask for again.
_KEPT_MESSAGES = 1000

_log = logging.getLogger(__name__)


class Live(Protocol):
    """What runs live streams: ``LocalLive``, or ``AsyncStreamingClient``."""

    tagging: Tagging

    def stream(
        self, chunks: AsyncIterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> AsyncGenerator[Hop, None]:
        """Yield the hops of one stream."""

    async def close(self) -> None:
        """Free what it holds."""


class LiveSession:
    """One stream: what has come, and what is to be told of it.

    Args:
        live: runs it.
        model_name: what its last message calls the model.
        sound: how it is sent.
        numbers: as in the query: ``threshold``, ``top``, ``scores``, and events' smoothing.
        decoders: threads for an encoded stream.

    Attributes:
        id: what a client resumes it by; it cannot be guessed.
        position: how far it has come: samples, or bytes where it is encoded.
        told: how many messages there have been.
        is_over: no more messages will come.
        heard_at: when something last came, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        live: Live,
        model_name: str,
        sound: Sound,
        numbers: Mapping[str, float],
        decoders: ThreadPoolExecutor,
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.sound, self.position, self.told, self.is_over = sound, 0, 0, False
        self.heard_at = time.monotonic()
        self._live, self._model_name = live, model_name
        limits = live.tagging.limits(numbers.get("threshold"))
        self._tagging = live.tagging.model_copy(update={"thresholds": list(limits.values())})
        self._top = int(numbers["top"]) if "top" in numbers else None
        self._all_scores = bool(numbers.get("scores"))
        smoothing = {
            name: numbers[name] for name in ("minimum_seconds", "release") if name in numbers
        }
        self._events = TagEvents(self._tagging, Smoothing(**smoothing))
        self._messages: deque[dict[str, Any]] = deque(maxlen=_KEPT_MESSAGES)
        self._news = asyncio.Event()
        self._pieces: asyncio.Queue[np.ndarray | None] = asyncio.Queue(1)
        self._decoder = Decoder(sound.rate_hz, decoders) if sound.format == "encoded" else None
        self._finished = False
        self._task = asyncio.ensure_future(self._run())

    async def push(self, message: bytes) -> None:
        """Take a message, once there is room for it.

        Raises:
            AudioError: it ends within a sample.
        """
        self.heard_at = time.monotonic()
        if self._finished or self.is_over or not message:
            return
        if self._decoder is not None:
            await self._decoder.push(message)
            self.position += len(message)
            return
        for piece in self.sound.pieces(message):
            await self._put(piece)

    async def finish(self) -> None:
        """No more will come: what is left is told, and then it is over."""
        if self._finished:
            return
        self._finished = True
        if self._decoder is not None:
            self._decoder.finish()
        else:
            await self._put(None)

    async def _put(self, piece: np.ndarray | None) -> None:
        putting = asyncio.ensure_future(self._pieces.put(piece))
        try:
            # Nobody takes it where the stream has failed.
            await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What is cut off has not come: a client that resumes sends it again.
            if putting.done() and piece is not None:
                self.position += piece.shape[-1]
            putting.cancel()

    def has(self, number: int) -> bool:
        """Whether the messages from this one on can be had."""
        return self.told - len(self._messages) <= number <= self.told

    async def messages(self, number: int) -> AsyncGenerator[dict[str, Any], None]:
        """The messages from this one on, as they come, to the last.

        Raises:
            RefusedError: the reader is so slow that one is no longer kept.
        """
        while True:
            while number < self.told:
                first = self.told - len(self._messages)
                if number < first:
                    raise RefusedError(408, "messages were not taken for too long")
                yield self._messages[number - first]
                number += 1
            if self.is_over:
                return
            self._news.clear()
            await self._news.wait()

    async def drop(self) -> None:
        """End it at once."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def _tell(self, document: dict[str, Any]) -> None:
        self._messages.append(document)
        self.told += 1
        self._news.set()

    async def _chunks(self) -> AsyncGenerator[np.ndarray, None]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def _run(self) -> None:
        chunks = self._chunks() if self._decoder is None else self._decoder.chunks()
        seconds = 0.0
        try:
            async with (
                aclosing(chunks),
                aclosing(self._live.stream(chunks, self.sound.rate_hz)) as hops,
            ):
                async for hop in hops:
                    seconds = hop.end_seconds
                    self._tell_hop(hop)
            self._tell_events(self._events.finish(seconds))
            segments = segments_document("stream", seconds, self._events)
            self._tell({**segments, "model": self._model_name})
        except MuqrtError as error:
            refused = refusal_of(error, [])
            self._tell({"type": "error", "error": refused.reason, "status": refused.status})
        except Exception:
            _log.exception("a stream failed")
            self._tell({"type": "error", "error": "the gateway failed", "status": 500})
        finally:
            self.is_over = True
            self._news.set()

    def _tell_hop(self, hop: Hop) -> None:
        late = time.monotonic() - self.heard_at
        scores = {"scores": hop.outputs[TAGS].tolist()} if self._all_scores else {}
        facts = hop_document(self._tagging, hop, self._top)
        self._tell({**facts, **scores, "latency_seconds": late})
        self._tell_events(self._events.push(hop))

    def _tell_events(self, events: list[Event | Silence]) -> None:
        for event in events:
            self._tell(event_document(event))
