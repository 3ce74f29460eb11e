"""What each stream plays, and when each of its chunks is sent, by the load and its seed."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...runtime.audio import read as audio

# Streams begin within this time, so that their hops do not all end at once.
START_SPREAD_SECONDS = 1.0
# With bursts, every stream's network stalls once in each stretch of this length.
STALL_EVERY_SECONDS = 10.0
LONGEST_CHUNK_SECONDS = 10.0  # the engine's limit
_LONGEST_JITTER_SECONDS = 10.0
_SHORTEST_CHUNK_SECONDS = 0.02
_SHORTEST_SECONDS = 1.0
# A stream that vanishes does so in the middle of the test, not at its edges.
_VANISH_BETWEEN = (0.1, 0.9)
# The clips that come with the package and need no optional decoder.
_EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
_CLIPS = ("ode_to_joy_band.ogg", "greensleeves_duo.flac", "bach_prelude_c.mp3")
_FULL_SCALE = 32767


@dataclass(frozen=True)
class Load:
    """What is asked of the streams.

    Attributes:
        streams: how many at the same time.
        seconds: how long each lasts.
        chunk_seconds: how much audio each request carries.
        jitter_seconds: a chunk arrives up to this much later than its audio ended, evenly spread.
        disconnect: share of the streams that vanish once without END and return as new ones.
        burst_seconds: how long the network of a stream stalls, once every
            ``STALL_EVERY_SECONDS``; the chunks held back then arrive at once.
        seed: random seed.

    Raises:
        UsageError: a value is out of range.
    """

    streams: int
    seconds: float
    chunk_seconds: float = 0.1
    jitter_seconds: float = 0.0
    disconnect: float = 0.0
    burst_seconds: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.streams < 1:
            raise UsageError(f"{self.streams} streams; at least one is needed.")
        for what, seconds, least, most in (
            ("a test", self.seconds, _SHORTEST_SECONDS, 7 * 86400.0),
            ("chunks", self.chunk_seconds, _SHORTEST_CHUNK_SECONDS, LONGEST_CHUNK_SECONDS),
            ("jitter", self.jitter_seconds, 0.0, _LONGEST_JITTER_SECONDS),
            ("bursts", self.burst_seconds, 0.0, STALL_EVERY_SECONDS / 2),
        ):
            if not least <= seconds <= most:
                raise UsageError(f"{what} of {seconds} s; choose {least:g} s to {most:g} s.")
        if not 0 <= self.disconnect <= 1:
            raise UsageError(f"disconnect {self.disconnect}: a share is between 0 and 1.")


@dataclass(frozen=True)
class TimedChunk:
    """Samples ``first`` up to ``last`` of a life, which arrive ``at_seconds`` into the test."""

    at_seconds: float
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Life:
    """One stream from its START to its END, or until it vanishes.

    Attributes:
        start_seconds: when its first sample sounds, from the beginning of the test.
        rate_hz: its sample rate.
        chunks: in order, without gap or overlap.
        place: where in the music it begins, 0 to 1.
        vanishes: whether it disconnects without END, while its last chunk is on its way.
    """

    start_seconds: float
    rate_hz: int
    chunks: tuple[TimedChunk, ...]
    place: float
    vanishes: bool

    @property
    def delivered(self) -> int:
        """How many chunks get through: a life that vanishes loses its last."""
        return len(self.chunks) - self.vanishes

    def arrived(self, position: int, now_seconds: float) -> int:
        """The end of the chunks from ``position`` on that have arrived and fit into one request."""
        first = self.chunks[position].first
        longest = LONGEST_CHUNK_SECONDS * self.rate_hz
        stop = position
        while (
            stop < self.delivered
            and self.chunks[stop].at_seconds <= now_seconds
            and self.chunks[stop].last - first <= longest
        ):
            stop += 1
        return stop

    def seconds(self, first: int, stop: int) -> float:
        """How much audio there is in chunks ``first`` up to ``stop``."""
        return (self.chunks[stop - 1].last - self.chunks[first].first) / self.rate_hz

    def due_seconds(self, end_seconds: float) -> float:
        """When the last sample of a window that ends so far into the stream sounds."""
        return self.start_seconds + end_seconds

    def arrived_seconds(self, end_seconds: float) -> float:
        """When the chunk with the last sample of such a window arrives."""
        end = round(end_seconds * self.rate_hz)
        index = bisect_left(self.chunks, end, key=lambda chunk: chunk.last)
        return self.chunks[index].at_seconds


def schedule(load: Load, rate_hz: int) -> list[Life]:
    """Every life of every stream, in the streams' order.

    A chunk never arrives before its audio has ended, nor before the previous chunk.
    """
    random = np.random.default_rng(load.seed)
    spread = min(START_SPREAD_SECONDS, load.seconds)
    vanishing = random.choice(load.streams, round(load.disconnect * load.streams), replace=False)
    lives = []
    for stream in range(load.streams):
        start = float(random.uniform(0, spread))
        end = start + load.seconds
        if stream in vanishing:
            moment = start + load.seconds * float(random.uniform(*_VANISH_BETWEEN))
            lives.append(_life(random, load, rate_hz, start, moment, vanishes=True))
            start = moment
        lives.append(_life(random, load, rate_hz, start, end, vanishes=False))
    return lives


def _life(
    random: np.random.Generator,
    load: Load,
    rate_hz: int,
    start: float,
    end: float,
    vanishes: bool,
) -> Life:
    samples = round((end - start) * rate_hz)
    edges = [*range(0, samples, round(load.chunk_seconds * rate_hz)), samples]
    due = start + np.array(edges[1:]) / rate_hz
    at = due + random.uniform(0, load.jitter_seconds, len(due))
    if load.burst_seconds:
        for begin in np.arange(start, end, STALL_EVERY_SECONDS):
            stall = begin + random.uniform(0, STALL_EVERY_SECONDS - load.burst_seconds)
            held_back = (due >= stall) & (due < stall + load.burst_seconds)
            at[held_back] = np.maximum(at[held_back], stall + load.burst_seconds)
    at = np.maximum.accumulate(at)
    chunks = map(TimedChunk, at.tolist(), edges[:-1], edges[1:])
    return Life(start, rate_hz, tuple(chunks), float(random.random()), vanishes)


class Music:
    """Recordings in an endless loop, as 16-bit samples.

    Args:
        files: audio; the clips that come with the package when empty.
        rate_hz: what they are resampled to.

    Raises:
        AudioError: a file cannot be decoded.
    """

    def __init__(self, files: Sequence[Path], rate_hz: int) -> None:
        found = list(files) or [_EXAMPLES / name for name in _CLIPS]
        waveform = np.concatenate([audio.load(file, rate_hz) for file in found])
        self._samples = (waveform.clip(-1, 1) * _FULL_SCALE).astype(np.int16)

    def of(self, life: Life, first: int, stop: int) -> np.ndarray:
        """Int16 (samples,): the life's chunks ``first`` up to ``stop``."""
        chunks = life.chunks[first:stop]
        return self.excerpt(life.place, chunks[0].first, chunks[-1].last)

    def excerpt(self, place: float, first: int, last: int) -> np.ndarray:
        """Int16 (samples,): samples ``first`` up to ``last``, counted from ``place``, 0 to 1."""
        start = int(place * len(self._samples))
        return self._samples.take(range(start + first, start + last), mode="wrap")
