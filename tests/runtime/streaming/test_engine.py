"""What a live stream gets is what an offline run on the same windows gives, to fp32 rounding."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError, UsageError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.engines.session import Session
from muqrt.runtime.load import load, open_bundle
from muqrt.runtime.streaming.engine import Hop, Push, Streaming
from muqrt.runtime.streaming.events import Smoothing, TagEvents
from muqrt.runtime.streaming.stream import SlidingConfig

from .streamed import (
    OUTPUTS,
    RATE_HZ,
    STEP,
    TAGS_DIFFERENCE,
    assert_same,
    offline,
    song,
    stream_whole,
    watched,
)


@pytest.fixture(scope="module")
def session(tagged_bundle: Path) -> Iterator[Session]:
    with open_bundle(tagged_bundle, threads=1) as opened:
        yield opened


# From 20 ms to 10 s and some odd samples; often short, as from a microphone.
milliseconds = st.one_of(st.integers(20, 120), st.integers(20, 10_000))
chunkings = st.lists(st.tuples(milliseconds, st.integers(0, 47)), min_size=1, max_size=6)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("rate_hz", [24_000, 44_100, 48_000])
@settings(max_examples=8, deadline=None)
@given(chunkings, st.floats(0.05, 8.0))
def test_any_chunks_equal_offline(
    session: Session, rate_hz: int, dtype: str, chunking: list[tuple[int, int]], seconds: float
) -> None:
    samples = song(rate_hz, dtype)[: round(seconds * rate_hz)]
    # Odd samples may make a chunk of the longest kind too long.
    longest = 10 * rate_hz
    sizes = [min(longest, ms * rate_hz // 1000 + odd) for ms, odd in chunking]
    sliding = SlidingConfig.every(session.framing, session.tagging, first_seconds=1.0)
    streaming = Streaming(session, sliding, OUTPUTS)
    mono = audio.from_array(samples, rate_hz)
    expected = offline(session, sliding, mono)
    assert_same(stream_whole(streaming, samples, rate_hz, sizes), expected)


# Ends within a hop, exactly on one, on one between two steps and on the step before it, on the
# first and before it, and as early as the model allows.
@pytest.mark.parametrize("samples", [70_000, 72_000, 60_000, 59_520, 24_000, 20_000, 1_025])
@pytest.mark.parametrize("in_parts", [True, False])
def test_ends(session: Session, samples: int, in_parts: bool) -> None:
    mono = song(RATE_HZ)[:samples]
    whole, front_end, _ = watched(session)
    if not in_parts:
        whole.parts = None
    sliding = SlidingConfig.every(session.framing, session.tagging, first_seconds=1.0)
    streaming = Streaming(whole, sliding, OUTPUTS)
    expected = offline(session, sliding, mono)
    stream, alone = streaming.open(), streaming.open()
    (hops,) = streaming.advance([Push(stream, mono, is_last=True)])
    assert isinstance(hops, list)
    assert_same(hops, expected)
    assert [hop.is_last for hop in hops] == [hop.is_last for hop in expected]
    # Whether the stream goes on is not known when a window has just ended with it.
    pushed, finished = streaming.push(alone, mono), streaming.finish(alone)
    assert_same(pushed + finished, expected)
    assert len(finished) == (samples not in (72_000, 59_520, 24_000))
    assert [hop.is_last for hop in finished] == [True] * len(finished)
    assert (len(front_end.shapes) > 0) == in_parts == (not whole.shapes)


def test_channels_are_averaged(session: Session) -> None:
    mono = song(RATE_HZ)[:70_000]
    left = np.random.default_rng(0).uniform(-0.1, 0.1, len(mono)).astype(np.float32)
    streaming = Streaming(session, outputs=OUTPUTS)
    pair = np.stack([mono + left, mono - left])
    expected = offline(session, streaming.sliding, audio.from_array(pair, RATE_HZ))
    assert_same(stream_whole(streaming, pair, RATE_HZ, [777]), expected)


def test_hops_belong_to_who_gets_them(session: Session) -> None:
    """Neither what an engine does with its buffers, nor what a caller does with a hop's outputs or
    a chunk, reaches a stream."""
    whole, _, _ = watched(session, spoils=True)
    streaming = Streaming(whole, outputs=OUTPUTS)
    mono = song(RATE_HZ)[:150_000]
    expected = offline(session, streaming.sliding, mono)
    stream, hops = streaming.open(), list[Hop]()
    for first in range(0, len(mono), 12_345):
        chunk = mono[first : first + 12_345].copy()
        found = streaming.push(stream, chunk)
        chunk[:] = np.nan
        for hop in found:
            outputs = {name: array.copy() for name, array in hop.outputs.items()}
            hops.append(Hop(hop.start_seconds, hop.end_seconds, outputs, hop.is_last))
            for array in hop.outputs.values():
                array[...] = np.nan
    assert_same(hops + streaming.finish(stream), expected)


def test_arguments_that_make_no_sense(session: Session) -> None:
    with pytest.raises(UsageError, match=r"no output tagz; this model has: .*tags"):
        Streaming(session, outputs=("tagz",))
    with pytest.raises(UsageError, match="no output was named"):
        Streaming(session, outputs=())
    with pytest.raises(UsageError, match="batch size 0"):
        Streaming(session, batch_size=0)
    with pytest.raises(AudioError, match="radio: a sample rate of 0 Hz"):
        Streaming(session).open(0, "radio")


def test_the_front_end_runs_on_what_is_new_and_the_edges(session: Session) -> None:
    whole, front_end, encoder = watched(session)
    streaming = Streaming(whole)
    stream = streaming.open()
    for first in range(0, 8 * RATE_HZ, 480):
        streaming.push(stream, song(RATE_HZ)[first : first + 480])
    # The first window is whole; half a second more than a hop for edges and where they meet.
    assert front_end.shapes[0] == (1, 49 * STEP) or front_end.shapes[0] == (1, 50 * STEP)
    assert len(front_end.shapes) == 13
    assert all(samples <= 1.1 * RATE_HZ for _, samples in front_end.shapes[1:])
    assert [steps for _, steps, _ in encoder.shapes] == [50] * 13


def test_memory_does_not_grow_with_the_stream(session: Session) -> None:
    streaming = Streaming(session)
    stream = streaming.open()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 12_000).astype(np.float32)

    def bytes_after(seconds: int) -> int:
        for _ in range(2 * seconds):
            streaming.push(stream, noise)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    young, old = bytes_after(5), bytes_after(90)
    tracemalloc.stop()
    window_bytes = streaming.sliding.window_steps * 4 * (STEP + frames_width(session))
    assert young < 2 * window_bytes
    assert old < 1.2 * young


def frames_width(session: Session) -> int:
    assert session.parts is not None
    return int(session.parts.front_end.outputs["frames"].shape[-1])


def test_a_track_that_plays_gets_the_tracks_tags(tagged_bundle: Path) -> None:
    """Windows of full length are those that ``Model.tag`` cuts, and so are scores and segments."""
    mono = song(RATE_HZ)[: 150 * STEP]
    with load(tagged_bundle, threads=1) as model:
        tagged = model.tag(mono, RATE_HZ, hop_seconds=0.4)
        sliding = SlidingConfig.every(
            model.framing, tagged.tagging, hop_seconds=0.4, first_seconds=2.0
        )
        streaming = Streaming(model.session, sliding)
        hops = stream_whole(streaming, mono, RATE_HZ, [1_111])
    scores = np.stack([hop.outputs["tags"] for hop in hops])
    np.testing.assert_allclose(scores, tagged.window_scores, atol=TAGS_DIFFERENCE)
    events = TagEvents(tagged.tagging, Smoothing(minimum_seconds=0, release=1))
    for hop in hops:
        events.push(hop)
    events.finish(hops[-1].end_seconds)
    expected = tagged.segments()
    assert sum(map(len, expected.values())) == len(events.segments) > 1
    for tag, segments in expected.items():
        found = [event[1:3] for event in events.segments if event.tag == tag]
        np.testing.assert_allclose(found, segments, atol=1e-9)
