"""Many live streams share the engine, and none of them notices the others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import AudioError, SessionError, UsageError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.engines.session import Session
from muqrt.runtime.load import open_bundle
from muqrt.runtime.streaming.engine import Hop, Push, Streaming
from muqrt.runtime.streaming.stream import Stream

from .streamed import OUTPUTS, RATE_HZ, assert_same, offline, song, watched


@pytest.fixture(scope="module")
def session(tagged_bundle: Path) -> Iterator[Session]:
    with open_bundle(tagged_bundle, threads=1) as opened:
        yield opened


def crowd(streaming: Streaming) -> list[tuple[Stream, np.ndarray, int, int]]:
    """Streams with their samples, the rounds they sit out before they begin, and chunk sizes."""
    return [
        (streaming.open(24_000, "a"), song(24_000)[:150_000], 0, 12_000),
        (streaming.open(24_000, "b"), song(24_000)[30_000:170_001], 1, 12_000),
        (streaming.open(48_000, "c"), song(48_000)[60_000:], 0, 24_000),
        (streaming.open(44_100, "d"), song(44_100, "int16")[:200_000], 3, 50_000),
        (streaming.open(24_000, "e"), song(24_000)[40_000:60_000], 2, 5_000),
        (streaming.open(24_000, "f"), song(24_000)[:100_000], 0, 100_000),
        (streaming.open(24_000, "g"), song(24_000)[:500], 1, 480),  # too short
    ]


def advance_together(
    streaming: Streaming, streams: list[tuple[Stream, np.ndarray, int, int]]
) -> dict[str, list[Hop]]:
    """Every stream's hops, from rounds that all streams share."""
    hops: dict[str, list[Hop]] = {stream.name: [] for stream, *_ in streams}
    for round_ in range(100):
        pushes = []
        for stream, samples, first_round, size in streams:
            first = (round_ - first_round) * size
            if 0 <= first < len(samples):
                is_last = first + size >= len(samples)
                pushes.append(Push(stream, samples[first : first + size], is_last))
        if pushes:
            results = streaming.advance(pushes)
            assert len(results) == len(pushes)
            for push, result in zip(pushes, results, strict=True):
                if push.stream.name == "g" and push.is_last:
                    assert isinstance(result, AudioError) and "g: too short" in str(result)
                else:
                    assert isinstance(result, list)
                    hops[push.stream.name] += result
    return hops


@pytest.mark.parametrize("in_parts", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_streams_together_equal_each_alone(
    session: Session, batch_size: int, in_parts: bool
) -> None:
    whole, front_end, encoder = watched(session, spoils=True)
    if not in_parts:
        whole.parts = None
    streaming = Streaming(whole, None, OUTPUTS, batch_size)
    streams = crowd(streaming)
    hops = advance_together(streaming, streams)
    for stream, samples, _, _ in streams:
        if stream.name == "g":
            continue
        mono = audio.from_array(samples, stream.rate_hz)
        assert_same(hops[stream.name], offline(session, streaming.sliding, mono))
        assert stream.ended and hops[stream.name][-1].is_last
    shapes = encoder.shapes if in_parts else whole.shapes
    together = max(batch for batch, *_ in shapes)
    assert together == batch_size if batch_size <= 2 else 2 < together <= 6
    assert len(shapes) < sum(map(len, hops.values())) or batch_size == 1
    assert (len(front_end.shapes) > 0) == in_parts == (not whole.shapes)


def test_runs_at_the_same_time_change_nothing(session: Session) -> None:
    found = []
    for runs in (1, 3):
        streaming = Streaming(session, None, OUTPUTS, batch_size=1, runs=runs)
        found.append(advance_together(streaming, crowd(streaming)))
    for name, hops in found[0].items():
        assert_same(found[1][name], hops)
    with pytest.raises(UsageError, match="0 runs"):
        Streaming(session, None, OUTPUTS, runs=0)


BAD_CHUNKS = [
    (np.array([0, np.nan], np.float32), "NaN or infinite"),
    (np.zeros(0, np.float32), "has no samples"),
    (np.zeros(960, np.uint16), "dtype uint16"),
    (np.zeros(240_001, np.float32), "a chunk of 240001 samples"),
]


@pytest.mark.parametrize(("chunk", "message"), BAD_CHUNKS)
def test_a_bad_push_concerns_no_other_and_does_no_harm(
    session: Session, chunk: np.ndarray, message: str
) -> None:
    streaming = Streaming(session, outputs=OUTPUTS)
    mono = song(RATE_HZ)[:70_000]
    expected = offline(session, streaming.sliding, mono)
    bad, good, over = (streaming.open(name=name) for name in ("bad", "good", "over"))
    streaming.advance([Push(over, mono, is_last=True)])
    hops: dict[Stream, list[Hop]] = {bad: [], good: []}
    for first in range(0, len(mono), 20_000):
        piece = mono[first : first + 20_000]
        refused, found, late = streaming.advance(
            [Push(bad, chunk), Push(good, piece), Push(over, piece)]
        )
        assert isinstance(refused, AudioError) and f"bad: {message}" in str(refused)
        assert isinstance(late, AudioError) and "over: it has ended" in str(late)
        assert isinstance(found, list)
        hops[good] += found
        hops[bad] += streaming.push(bad, piece)
    for stream in (bad, good):
        assert_same(hops[stream] + streaming.finish(stream), expected)
        with pytest.raises(AudioError, match="it has ended"):
            streaming.finish(stream)


@pytest.mark.parametrize("in_parts", [True, False])
def test_numbers_that_are_not_finite_concern_no_other(session: Session, in_parts: bool) -> None:
    whole, front_end, _ = watched(session)
    whole.loudest = front_end.loudest = 10.0
    if not in_parts:
        whole.parts = None
    streaming = Streaming(whole, outputs=OUTPUTS)
    mono = song(RATE_HZ)[:192_000]
    loud = mono.copy()
    loud[70_000] = 11.0
    spoiled, good = streaming.open(name="spoiled"), streaming.open(name="good")
    results, others = [], list[Hop]()
    for first in range(0, len(mono), 12_000):
        piece = slice(first, first + 12_000)
        result, hops = streaming.advance([Push(spoiled, loud[piece]), Push(good, mono[piece])])
        results.append(result)
        assert isinstance(hops, list)
        others += hops
    assert_same(others, offline(session, streaming.sliding, mono))
    errors = [each for each in results if isinstance(each, SessionError)]
    assert "spoiled: the engine gave NaN or infinite features" in str(errors[0])
    # The windows with the loud sample are lost, and no other.
    expected = [
        hop
        for hop in offline(session, streaming.sliding, loud)
        if not hop.start_seconds <= 70_000 / RATE_HZ < hop.end_seconds
    ]
    assert len(errors) == 4 and isinstance(results[-1], list)
    assert_same([hop for each in results if isinstance(each, list) for hop in each], expected)


def test_an_engine_that_fails_loses_windows_and_no_stream(session: Session) -> None:
    whole, front_end, encoder = watched(session)
    streaming = Streaming(whole, outputs=OUTPUTS)
    mono = song(RATE_HZ)[:144_000]
    stream, hops = streaming.open(), list[Hop]()
    for index, first in enumerate(range(0, len(mono), 12_000)):
        front_end.fails, encoder.fails = index == 5, index == 7
        chunk = mono[first : first + 12_000]
        if index in (5, 7):
            with pytest.raises(SessionError, match="out of memory"):
                streaming.push(stream, chunk)
        else:
            hops += streaming.push(stream, chunk)
    expected = offline(session, streaming.sliding, mono)
    lost = [index for index, hop in enumerate(expected) if hop.end_seconds in (3.0, 4.0)]
    assert len(lost) == 2
    assert_same(hops, [hop for index, hop in enumerate(expected) if index not in lost])


def test_a_stream_pushed_twice_is_refused_before_anything_changes(session: Session) -> None:
    streaming = Streaming(session, outputs=OUTPUTS)
    stream, mono = streaming.open(), song(RATE_HZ)[:70_000]
    with pytest.raises(UsageError, match="pushed twice"):
        streaming.advance([Push(stream, mono), Push(stream, mono)])
    hops = streaming.push(stream, mono) + streaming.finish(stream)
    assert_same(hops, offline(session, streaming.sliding, mono))
    assert streaming.advance([]) == []
