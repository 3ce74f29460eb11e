"""The live streams of a served model: who has one, in which order its audio comes, when it ends.

A server tells its model nothing of clients that vanish, so streams have a time to live here; and it
lets any number of clients begin, so they are limited here.
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


class NoSuchStreamError(ServerError):
    """The stream was never started here, or is over: start it again."""


class TooManyStreamsError(ServerError):
    """The limit on live streams is reached: try again later."""


@dataclass(frozen=True, eq=False)
class StreamChunk:
    """What a client sends of its stream in one request.

    Attributes:
        stream_id: what the client calls the stream.
        waveform: mono float32 (samples,) in [-1, 1],
        pcm: or int16 (samples,); neither only if it ends.
        starts: whether the stream begins with it, in place of one of the same id.
        ends: whether the stream ends with it.
        rate_hz: of the stream's samples; where it is missing at the start, the model's.
        index: how many chunks of the stream came before; not checked where it is missing.
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
    """What has happened so far.

    Attributes:
        streams_restarted: of those opened, how many replaced a live one of the same id.
        streams_refused: how many were not opened, because too many were live.
        streams_expired: how many ended because nothing came for too long.
        late_hops: of the hops, those answered more than a hop after their audio came.
        stream_seconds: audio that was taken in.
        stream_busy_seconds: time that its answers took.
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
    """Several clients' streams. May be used by several threads.

    Args:
        streaming: runs them; used by nobody else.
        max_streams: how many may be live at once.
        idle_seconds: a stream of which nothing comes for so long is dropped.
        clock: the time in seconds.
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
        """Take the next chunks of streams, of each stream one, in shared runs of the engine.

        Returns:
            For each chunk the hops that end in it, or why it was refused, which does not concern
            the others: AudioError (its samples, its rate) and UsageError (nothing to take, out of
            order) leave a stream as it was unless they begin or end it; TooManyStreamsError;
            NoSuchStreamError; SessionError (the engine failed), after which the stream is gone.
        """
        with self._lock:
            arrived = self._clock()
            # A chunk that comes late may have waited in the server's queue.
            self._drop_idle(arrived, {chunk.stream_id for chunk in chunks})
            admitted = [self._admitted(chunk, arrived) for chunk in chunks]
            found = iter(self._run([each for each in admitted if isinstance(each, Push)]))
            answers = [next(found) if isinstance(each, Push) else each for each in admitted]
            self._conclude(chunks, admitted, answers, arrived)
            return answers

    def drop(self, stream_id: int | str) -> None:
        """End a stream, if there is one of that id, without answers."""
        with self._lock:
            self._live.pop(stream_id, None)

    def take_stock(self) -> tuple[int, Totals]:
        """How many streams are live, now that the idle ones are dropped, and what has happened."""
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
                f"too many live streams: {len(self._live)} of {self._max_streams}. Try again later."
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
        """Count, and drop the streams that are over."""
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
    """What the chunk adds to its stream, if it is the stream's next."""
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
    return given[0] if given else None
