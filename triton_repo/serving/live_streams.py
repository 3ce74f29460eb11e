"""The live streams of a served model: their limits, the order of their chunks, and their ends.

A server does not tell its model about clients that vanish, so idle streams expire here; and it lets
any number of clients begin, so their number is limited here.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from ...errors import AudioError, MuqrtError, ServerError, SessionError, UsageError
from ...runtime.audio.read import check_rate
from ...runtime.streaming.engine import Hop, Push, Streaming
from ...runtime.streaming.stream import Stream
from ..contract.config import STREAMS_ARE_FULL
from .peak import check_peak


class NoSuchStreamError(ServerError):
    """The stream was never started here, or is over; start it again."""


class TooManyStreamsError(ServerError):
    """The limit of live streams is reached; try again later."""


@dataclass(frozen=True, eq=False)
class StreamChunk:
    """What a client sends in one request.

    Attributes:
        stream_id: the client's id for the stream.
        waveform: mono float32 (samples,) in [-1, 1]; this or ``pcm``.
        pcm: mono int16 (samples,). Only the end of a stream may have neither.
        starts: whether the chunk begins a stream, replacing one of the same id.
        ends: whether the chunk ends the stream.
        rate_hz: sample rate of the stream; the model's when None in the first chunk.
        index: how many chunks of the stream came before; not checked when None.
    """

    stream_id: int | str
    waveform: np.ndarray | None = None
    pcm: np.ndarray | None = None
    starts: bool = False
    ends: bool = False
    rate_hz: int | None = None
    index: int | None = None


@dataclass
class Totals:
    """What has happened since the start.

    Attributes:
        streams_opened: streams that were opened.
        streams_restarted: opened streams that replaced a live one of the same id.
        streams_refused: streams that were refused because too many were live.
        streams_expired: streams that were dropped because they were idle.
        hops: windows that were answered.
        late_hops: hops answered more than one hop after their audio came.
        stream_seconds: seconds of audio received.
        stream_busy_seconds: seconds spent on answers.
    """

    streams_opened: int = 0
    streams_restarted: int = 0
    streams_refused: int = 0
    streams_expired: int = 0
    hops: int = 0
    late_hops: int = 0
    stream_seconds: float = 0.0
    stream_busy_seconds: float = 0.0


@dataclass(eq=False)
class _Live:
    stream: Stream
    last_heard_seconds: float
    chunks: int = 0


class LiveStreams:
    """The streams of all clients. May be used by several threads.

    Args:
        streaming: runs the streams; not to be used for others.
        max_streams: how many streams may be live at once.
        idle_seconds: drop a stream that sends nothing for this long.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        streaming: Streaming,
        max_streams: int,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streaming = streaming
        self._max_streams, self._idle_seconds = max_streams, idle_seconds
        self._clock = clock
        self._live: dict[int | str, _Live] = {}
        self._totals = Totals()
        self._lock = Lock()

    def advance(self, chunks: Sequence[StreamChunk]) -> list[list[Hop] | MuqrtError]:
        """Take the next chunk of each of several streams, in shared runs of the engine.

        Returns:
            For each chunk the hops that end in it, or the error that refused it, without effect on
            the others. After AudioError (bad samples or rate) and UsageError (no samples, out of
            order) the stream is as it was, unless the chunk begins or ends it. Also
            TooManyStreamsError, NoSuchStreamError, and SessionError (the engine failed), which
            ends the stream.
        """
        with self._lock:
            arrived = self._clock()
            # Not the streams of these chunks, which may have waited in the server's queue.
            self._drop_idle(arrived, {chunk.stream_id for chunk in chunks})
            admitted = [self._admitted(chunk, arrived) for chunk in chunks]
            found = iter(self._run([each for each in admitted if isinstance(each, Push)]))
            answers = [next(found) if isinstance(each, Push) else each for each in admitted]
            self._conclude(chunks, admitted, answers, arrived)
            return answers

    def drop(self, stream_id: int | str) -> None:
        """End a stream without answers, if it is live."""
        with self._lock:
            self._live.pop(stream_id, None)

    def take_stock(self) -> tuple[int, Totals]:
        """Drop idle streams; returns how many are live, and the totals."""
        with self._lock:
            self._drop_idle(self._clock(), set())
            return len(self._live), replace(self._totals)

    def _drop_idle(self, now: float, heard: Collection[int | str]) -> None:
        for stream_id, live in list(self._live.items()):
            if stream_id not in heard and now - live.last_heard_seconds > self._idle_seconds:
                del self._live[stream_id]
                self._totals.streams_expired += 1

    def _admitted(self, chunk: StreamChunk, now: float) -> Push | MuqrtError:
        try:
            live = self._open(chunk, now) if chunk.starts else self._find(chunk.stream_id)
            return Push(live.stream, _samples(chunk, live), chunk.ends)
        except MuqrtError as refusal:
            return refusal

    def _open(self, chunk: StreamChunk, now: float) -> _Live:
        restarted = self._live.pop(chunk.stream_id, None) is not None
        if len(self._live) >= self._max_streams:
            self._totals.streams_refused += 1
            raise TooManyStreamsError(
                f"{STREAMS_ARE_FULL}: {len(self._live)} of {self._max_streams}. Try again later."
            )
        name = f"stream {chunk.stream_id!r}"
        if chunk.rate_hz is not None:
            check_rate(chunk.rate_hz, name)
        live = _Live(self._streaming.open(chunk.rate_hz, name), now)
        self._live[chunk.stream_id] = live
        self._totals.streams_opened += 1
        self._totals.streams_restarted += restarted
        return live

    def _find(self, stream_id: int | str) -> _Live:
        if stream_id in self._live:
            return self._live[stream_id]
        raise NoSuchStreamError(
            f"no such stream {stream_id!r}: it was not started here, has ended, or sent nothing "
            f"for {self._idle_seconds:g} s. Start it again, with its last window."
        )

    def _run(self, pushes: list[Push]) -> Sequence[list[Hop] | MuqrtError]:
        try:
            return self._streaming.advance(pushes)
        except MuqrtError as error:
            return [error] * len(pushes)

    def _conclude(
        self,
        chunks: Sequence[StreamChunk],
        admitted: list[Push | MuqrtError],
        answers: list[list[Hop] | MuqrtError],
        arrived: float,
    ) -> None:
        """Update the totals, and drop the streams that are over."""
        now, totals = self._clock(), self._totals
        totals.stream_busy_seconds += now - arrived
        is_late = now - arrived > self._streaming.sliding.hop_seconds
        for chunk, push, answer in zip(chunks, admitted, answers, strict=True):
            if isinstance(push, Push) and not isinstance(answer, MuqrtError):
                live = self._live[chunk.stream_id]
                live.chunks += 1
                live.last_heard_seconds = now
                totals.hops += len(answer)
                totals.late_hops += len(answer) * is_late
                if push.chunk is not None:
                    totals.stream_seconds += len(push.chunk) / push.stream.rate_hz
            refused_at_once = chunk.starts and isinstance(answer, MuqrtError)
            if chunk.ends or refused_at_once or isinstance(answer, SessionError):
                self._live.pop(chunk.stream_id, None)


def _samples(chunk: StreamChunk, live: _Live) -> np.ndarray | None:
    """The samples of a chunk, after checking its place in the stream."""
    name, rate_hz = live.stream.name, live.stream.rate_hz
    if chunk.index is not None and chunk.index != live.chunks:
        raise UsageError(
            f"{name}: out of order: chunk {chunk.index} came, chunk {live.chunks} was expected. "
            "Send each once, in order."
        )
    if chunk.rate_hz is not None and chunk.rate_hz != rate_hz:
        raise AudioError(
            f"{name}: {chunk.rate_hz} Hz after {rate_hz} Hz; start another stream for another rate."
        )
    given = [each for each in (chunk.waveform, chunk.pcm) if each is not None]
    if len(given) > 1:
        raise UsageError(f"{name}: both waveform and pcm; send one of them.")
    if not given and not chunk.ends:
        raise UsageError(f"{name}: neither waveform nor pcm; only a stream's end may be without.")
    if chunk.waveform is not None:
        check_peak(chunk.waveform, name)
    return given[0] if given else None
