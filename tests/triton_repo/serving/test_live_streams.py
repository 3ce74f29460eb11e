"""The table of live streams, without a server: limits, order, time to live, and who is affected."""

from collections.abc import Mapping

import numpy as np
import pytest

from muqrt.errors import AudioError, MuqrtError, SessionError, UsageError
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.engines.session import Arrays, Description, Session
from muqrt.runtime.streaming.engine import Hop, Streaming
from muqrt.runtime.streaming.stream import SlidingConfig
from muqrt.triton_repo.serving.live_streams import (
    LiveStreams,
    NoSuchStreamError,
    StreamChunk,
    TooManyStreamsError,
)

from ...framing import muq_framing

RATE_HZ = 24_000
FRAMING = muq_framing(48_000)
SLIDING = SlidingConfig.every(FRAMING, hop_seconds=0.5, window_seconds=1.0, first_seconds=0.5)


class Clock:
    """A clock that stands still, but for what a run of the engine takes."""

    def __init__(self) -> None:
        self.now = self.run_seconds = 0.0

    def __call__(self) -> float:
        return self.now


class Loudness(Session):
    """An engine whose two tags are a window's mean square and its length."""

    def __init__(self, clock: Clock) -> None:
        tags = TensorSpec(name="tags", dtype="float32", shape=["batch", 2])
        samples = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
        super().__init__(Description([samples], [tags], FRAMING))
        self.clock, self.fails = clock, False
        self.batches: list[int] = []

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        self.clock.now += self.clock.run_seconds
        if self.fails:
            raise SessionError("out of memory")
        waveform = inputs["waveform"]
        self.batches.append(len(waveform))
        lengths = np.full(len(waveform), waveform.shape[1])
        return {"tags": np.stack([(waveform**2).mean(1), lengths], 1).astype(np.float32)}

    def close(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock) -> Loudness:
    return Loudness(clock)


@pytest.fixture
def streams(engine: Loudness, clock: Clock) -> LiveStreams:
    return LiveStreams(Streaming(engine, SLIDING), max_streams=3, idle_seconds=10, clock=clock)


def noise(samples: int = RATE_HZ // 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def start(stream_id: int | str, waveform: np.ndarray | None = None) -> StreamChunk:
    return StreamChunk(stream_id, noise() if waveform is None else waveform, starts=True)


def one(streams: LiveStreams, chunk: StreamChunk) -> list[Hop] | MuqrtError:
    (answer,) = streams.advance([chunk])
    return answer


def same(answer: list[Hop] | MuqrtError, expected: list[Hop]) -> bool:
    assert isinstance(answer, list)
    spans = [
        [(hop.start_seconds, hop.end_seconds, hop.is_last) for hop in hops]
        for hops in (answer, expected)
    ]
    values = [[hop.outputs["tags"] for hop in hops] for hops in (answer, expected)]
    return spans[0] == spans[1] and np.array_equal(*values)


def test_streams_advance_together_and_each_gets_its_own(
    streams: LiveStreams, engine: Loudness
) -> None:
    audio = {1: noise(30_000, 1), "two": noise(55_000, 2), 3: noise(41_001, 3)}
    alone = Streaming(Loudness(Clock()), SLIDING)
    oracles = {each: alone.open() for each in audio}
    for first in range(0, 70_000, 14_000):
        chunks, expected = [], []
        for each, samples in audio.items():
            if first < len(samples):
                part, ends = samples[first : first + 14_000], first + 14_000 >= len(samples)
                chunks.append(
                    StreamChunk(each, part, starts=first == 0, ends=ends, index=first // 14_000)
                )
                hops = alone.push(oracles[each], part)
                expected.append(hops + alone.finish(oracles[each]) if ends else hops)
        # A last window of a stream is known to be so only where the end comes with its audio.
        for answer, hops in zip(streams.advance(chunks), expected, strict=True):
            assert isinstance(answer, list)
            assert [hop.end_seconds for hop in answer] == [hop.end_seconds for hop in hops]
            for ours, theirs in zip(answer, hops, strict=True):
                np.testing.assert_array_equal(ours.outputs["tags"], theirs.outputs["tags"])
    assert max(engine.batches) == 3
    live, totals = streams.take_stock()
    assert (live, totals.streams_opened, totals.streams_restarted) == (0, 3, 0)
    assert totals.stream_seconds == pytest.approx((30_000 + 55_000 + 41_001) / RATE_HZ)


def test_pcm_and_another_rate(streams: LiveStreams) -> None:
    pcm = (noise(44_100) * 32_768).astype(np.int16)
    answer = one(streams, StreamChunk("a", pcm=pcm, starts=True, ends=True, rate_hz=44_100))
    streaming = Streaming(Loudness(Clock()), SLIDING)
    stream = streaming.open(44_100)
    stream.append(pcm, is_last=True)
    assert isinstance(answer, list)
    assert [hop.end_seconds for hop in answer] == [0.48, 1.0]
    waveform = stream.next_window().waveform  # type: ignore[union-attr]
    assert answer[0].outputs["tags"][0] == pytest.approx((waveform**2).mean(), rel=1e-6)


def test_too_many_are_refused_until_one_ends(streams: LiveStreams) -> None:
    answers = streams.advance([start(each) for each in range(1, 6)])
    assert [isinstance(each, TooManyStreamsError) for each in answers] == [0, 0, 0, 1, 1]
    assert "too many live streams: 3 of 3" in str(answers[4])
    # A restart takes the place of its own stream.
    assert isinstance(one(streams, start(2)), list)
    assert isinstance(one(streams, StreamChunk(1, ends=True)), list)
    assert isinstance(one(streams, start(5)), list)
    live, totals = streams.take_stock()
    assert (live, totals.streams_opened, totals.streams_refused) == (3, 5, 2)
    assert totals.streams_restarted == 1


def test_idle_streams_expire(streams: LiveStreams, clock: Clock) -> None:
    streams.advance([start(1), start(2), start(3)])
    clock.now = 8
    assert isinstance(one(streams, StreamChunk(1, noise())), list)
    clock.now = 11
    # Stream 3 is late, not gone: its chunk may have waited for the server.
    kept, late, new = streams.advance([StreamChunk(1, noise()), StreamChunk(3, noise()), start(4)])
    assert all(isinstance(each, list) for each in (kept, late, new))
    gone = one(streams, StreamChunk(2, noise()))
    assert isinstance(gone, NoSuchStreamError)
    assert "no such stream 2" in str(gone)
    clock.now = 30
    live, totals = streams.take_stock()
    assert (live, totals.streams_expired) == (0, 4)


def test_a_restarted_stream_is_a_new_one(streams: LiveStreams) -> None:
    first = one(streams, start(1))
    one(streams, StreamChunk(1, noise(seed=9), index=1))
    again = one(streams, StreamChunk(1, noise(), starts=True, index=0))
    assert isinstance(first, list)
    assert same(again, first)


NAN = np.full(960, np.nan, np.float32)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (StreamChunk(1, NAN), AudioError, "stream 1: NaN"),
        (StreamChunk(1, noise(0)), AudioError, "no samples"),
        (StreamChunk(1, noise(10 * RATE_HZ + 1)), AudioError, "at most 240000"),
        (StreamChunk(1, noise(), rate_hz=48_000), AudioError, "48000 Hz after 24000 Hz"),
        (StreamChunk(1, noise(), index=0), UsageError, "chunk 0 came, chunk 1 was expected"),
        (StreamChunk(1, noise(), index=2), UsageError, "out of order"),
        (StreamChunk(1, noise(), np.ones(9, np.int16)), UsageError, "both waveform and pcm"),
        (StreamChunk(1), UsageError, "neither waveform nor pcm"),
        (StreamChunk("1", noise()), NoSuchStreamError, "no such stream '1'"),
        (StreamChunk(9, NAN, starts=True), AudioError, "NaN"),
        (StreamChunk(9, noise(), starts=True, index=1), UsageError, "out of order"),
        (StreamChunk(9, noise(), starts=True, rate_hz=0), AudioError, "0 Hz"),
        (StreamChunk(9, starts=True), UsageError, "neither"),
        (StreamChunk(9, ends=True), NoSuchStreamError, "'?9'?"),
    ],
)
def test_what_is_wrong_with_one_chunk_does_not_concern_the_others(
    streams: LiveStreams, bad: StreamChunk, error: type[MuqrtError], message: str
) -> None:
    expected = LiveStreams(Streaming(Loudness(Clock()), SLIDING), 9, 10)
    for each in (streams, expected):
        each.advance([start(1, noise(20_000)), start(2, noise(10_000))])
    refusal, good = streams.advance([bad, StreamChunk(2, noise(seed=5), index=1)])
    assert isinstance(refusal, error)
    with pytest.raises(error, match=message):
        raise refusal
    assert same(good, one(expected, StreamChunk(2, noise(seed=5))))  # type: ignore[arg-type]
    # The stream itself is as it was, and takes the chunk that was expected.
    assert same(
        one(streams, StreamChunk(1, noise(), index=1)), one(expected, StreamChunk(1, noise()))
    )  # type: ignore[arg-type]
    assert streams.take_stock()[0] == 2


def test_an_end_ends_even_if_it_is_refused(streams: LiveStreams) -> None:
    streams.advance([start(1), start(2)])
    bad = [StreamChunk(1, NAN, ends=True), StreamChunk(2, noise(), ends=True, index=7)]
    assert all(isinstance(each, MuqrtError) for each in streams.advance(bad))
    assert streams.take_stock()[0] == 0


def test_a_bad_restart_ends_the_stream_it_replaces(streams: LiveStreams) -> None:
    one(streams, start(1))
    assert isinstance(one(streams, start(1, NAN)), AudioError)
    assert isinstance(one(streams, StreamChunk(1, noise())), NoSuchStreamError)


def test_a_failing_engine_ends_the_streams_it_failed_on(
    streams: LiveStreams, engine: Loudness
) -> None:
    streams.advance([start(1, noise(960)), start(2, noise(960)), start(3, noise(960))])
    engine.fails = True
    answers = streams.advance([StreamChunk(1, noise()), StreamChunk(2, noise())])
    assert [str(each) for each in answers] == ["out of memory"] * 2
    engine.fails = False
    assert isinstance(one(streams, StreamChunk(1, noise())), NoSuchStreamError)
    assert isinstance(one(streams, StreamChunk(3, noise())), list)


def test_busy_time_and_late_hops_are_counted(streams: LiveStreams, clock: Clock) -> None:
    clock.run_seconds = 0.4
    one(streams, start(1))
    clock.run_seconds = 0.6
    one(streams, StreamChunk(1, noise()))
    _, totals = streams.take_stock()
    assert (totals.hops, totals.late_hops) == (2, 1)
    assert totals.stream_busy_seconds == pytest.approx(1.0)
    assert totals.stream_seconds == pytest.approx(1.0)


def test_samples_that_were_not_scaled_are_refused(streams: LiveStreams) -> None:
    one(streams, start("a"))
    refused = one(streams, StreamChunk("a", noise() * 32_768, index=1))
    assert isinstance(refused, AudioError)
    assert "Divide 16-bit samples by 32768" in str(refused)
    answer = one(streams, StreamChunk("a", noise(), index=1))
    assert isinstance(answer, list)
