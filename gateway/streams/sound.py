"""What binary messages mean: samples, or the bytes of an encoded stream."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition
from typing import Literal

import numpy as np

from ...errors import AudioError, MuqrtError
from ...kernels.log_mel.contract import SAMPLE_RATE_HZ
from ...runtime.audio.read import check_rate
from ...runtime.streaming.sources.address import MOST_SILENT_BYTES, NotAudioError
from ...runtime.streaming.sources.encoded import from_feed
from ...triton_repo.front.asgi import RefusedError
from ..query import numbers

Format = Literal["f32", "s16", "encoded"]
FORMATS: tuple[Format, ...] = ("f32", "s16", "encoded")
MOST_CHANNELS = 8
_DTYPES: dict[str, np.dtype] = {"f32": np.dtype("<f4"), "s16": np.dtype("<i2")}
# A longer message is cut: streams take turns by pieces.
_PIECE_SECONDS = 1.0
# Bytes that wait for the decoder, and pieces of what it has decoded.
_FEED_BYTES, _PIECES = 1 << 20, 4


@dataclass(frozen=True)
class Sound:
    """How a stream is sent.

    Attributes:
        format: of its messages.
        rate_hz: of its samples; of an encoded stream what it is decoded to.
        channels: interleaved in its messages.
    """

    format: Format
    rate_hz: int
    channels: int = 1

    def __post_init__(self) -> None:
        check_rate(self.rate_hz, "stream")

    def pieces(self, message: bytes) -> list[np.ndarray]:
        """A message's samples, (samples,) or (channels, samples), in pieces of a second.

        Raises:
            AudioError: it ends within a sample.
        """
        dtype = _DTYPES[self.format]
        frame_bytes = dtype.itemsize * self.channels
        if len(message) % frame_bytes:
            raise AudioError(
                f"stream: a message of {len(message)} bytes; send whole samples of {frame_bytes}."
            )
        samples = np.frombuffer(message, dtype).astype(dtype.newbyteorder("="), copy=False)
        if self.channels > 1:
            samples = np.ascontiguousarray(samples.reshape(-1, self.channels).T)
        step = round(_PIECE_SECONDS * self.rate_hz)
        return [samples[..., at : at + step] for at in range(0, samples.shape[-1], step)]


def sound_of(given: Mapping[str, str]) -> Sound:
    """The sound that a query describes; raises RefusedError if it describes none."""
    kind = given.get("format", "f32")
    if kind not in FORMATS:
        raise RefusedError(400, f"format: one of {', '.join(FORMATS)}")
    found = numbers(given, {"rate": (0, 10**9), "channels": (1, MOST_CHANNELS)})
    if kind == "encoded":
        return Sound(kind, SAMPLE_RATE_HZ)
    if "rate" not in found:
        raise RefusedError(400, "rate: say how many samples a second come, such as rate=48000")
    try:
        return Sound(kind, int(found["rate"]), int(found.get("channels", 1)))
    except MuqrtError as error:
        raise RefusedError(400, str(error)) from None


class Decoder:
    """Decodes an encoded stream in a thread of a pool, while it comes."""

    def __init__(self, rate_hz: int, pool: ThreadPoolExecutor) -> None:
        self._rate_hz = rate_hz
        self._feed = _Feed(asyncio.get_running_loop())
        self._pieces: asyncio.Queue[np.ndarray | Exception | None] = asyncio.Queue(_PIECES)
        self._loop = asyncio.get_running_loop()
        self._thread = self._loop.run_in_executor(pool, self._decode)

    async def push(self, data: bytes) -> None:
        """Give it more, once it has room."""
        await self._feed.put(data)

    def finish(self) -> None:
        """No more will come."""
        self._feed.finish()

    async def chunks(self) -> AsyncGenerator[np.ndarray, None]:
        """The samples, to the end."""
        try:
            while (piece := await self._pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self._feed.finish(at_once=True)
            while not self._thread.done():  # which may wait for room
                with suppress(asyncio.QueueEmpty):
                    self._pieces.get_nowait()
                await asyncio.wait({self._thread}, timeout=0.01)

    def _decode(self) -> None:
        last: Exception | None = None
        try:
            for piece in from_feed(self._feed, self._rate_hz, "stream"):
                if self._feed.is_over:
                    break
                if len(piece):
                    self._hand_over(piece)
        except Exception as error:  # else the stream would wait for ever
            last = error
        if not self._feed.is_over:
            self._hand_over(last)

    def _hand_over(self, piece: np.ndarray | Exception | None) -> None:
        asyncio.run_coroutine_threadsafe(self._pieces.put(piece), self._loop).result()


class _Feed:
    """Bytes from the event loop to the decoder's thread, which waits for them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._room = loop, asyncio.Event()
        self._changed = Condition()
        self._data, self._finished, self.is_over = bytearray(), False, False
        self._silent_bytes = 0

    async def put(self, data: bytes) -> None:
        while len(self._data) > _FEED_BYTES and not self._finished:
            self._room.clear()
            await self._room.wait()
        with self._changed:
            self._data += data
            self._changed.notify()

    def finish(self, at_once: bool = False) -> None:
        with self._changed:
            self._finished, self.is_over = True, self.is_over or at_once
            self._changed.notify()
        self._room.set()

    def read(self, size: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._data or self._finished)
            if self.is_over:
                return b""
            found = bytes(self._data[:size])
            del self._data[:size]
        self._loop.call_soon_threadsafe(self._room.set)
        self._silent_bytes += len(found)
        if self._silent_bytes > MOST_SILENT_BYTES:
            raise NotAudioError(f"{MOST_SILENT_BYTES >> 20} MiB came, and no audio in them")
        return found

    def heard(self) -> None:
        self._silent_bytes = 0
