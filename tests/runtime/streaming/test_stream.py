"""Windows slide over a stream as the definition says, however its samples arrive."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError, UsageError
from muqrt.runtime.streaming.stream import SlidingConfig, Stream, StreamWindow

from ...framing import muq_framing, muq_tagging

# Steps of 0.04 s.
RATE_HZ, STEP = 3_000, 120
FRAMING = muq_framing(
    RATE_HZ, sample_rate_hz=RATE_HZ, hop_samples=30, step_samples=STEP, minimum_samples=145
)


def naive_windows(samples: int, sliding: SlidingConfig) -> list[tuple[int, int]]:
    """First and last sample of every window of a stream of this length."""
    ends, hops = [], 0
    while True:
        hops += 1
        end = hops * sliding.hop_samples // STEP * STEP
        if end > samples:
            break
        if hops * sliding.hop_samples >= sliding.first_steps * STEP:
            ends.append(end)
    if not ends or ends[-1] < samples:
        ends.append(samples)
    return [(max(0, -(-end // STEP) - sliding.window_steps) * STEP, end) for end in ends]


def taken(stream: Stream) -> list[StreamWindow]:
    """Every window that has ended by now."""
    found = []
    while (window := stream.next_window()) is not None:
        found.append(window)
    return found


@st.composite
def slidings(draw: st.DrawFn) -> SlidingConfig:
    window_steps = draw(st.integers(2, 25))
    first_steps = draw(st.integers(2, window_steps))
    return SlidingConfig(
        FRAMING, draw(st.integers(STEP, window_steps * STEP)), window_steps, first_steps
    )


@settings(max_examples=300, deadline=None)
@given(slidings(), st.lists(st.integers(1, 3_000), min_size=1, max_size=8), st.booleans())
def test_windows_are_those_of_the_definition(
    sliding: SlidingConfig, sizes: list[int], end_comes_with_a_chunk: bool
) -> None:
    samples = max(FRAMING.minimum_samples, sum(sizes))
    whole = np.arange(samples, dtype=np.float32) / samples
    stream, found = Stream(sliding, RATE_HZ), []
    bounds = [*np.cumsum([0, *sizes[:-1]]).tolist(), samples]
    for first, last in pairwise(bounds):
        stream.append(whole[first:last], end_comes_with_a_chunk and last == samples)
        found += taken(stream)
    if not end_comes_with_a_chunk:
        stream.append(None, is_last=True)
        found += taken(stream)
    expected = naive_windows(samples, sliding)
    spans = [
        (window.start_step * STEP, window.start_step * STEP + window.waveform.shape[1])
        for window in found
    ]
    assert spans == expected
    for window, (first, last) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(window.waveform, whole[None, first:last])
    assert not any(window.is_last for window in found[:-1])
    # Whether the stream went on was unknown when a window had ended with it.
    assert found[-1].is_last or not end_comes_with_a_chunk


def test_the_defaults() -> None:
    sliding = SlidingConfig.every(FRAMING)
    assert (sliding.hop_seconds, sliding.window_seconds) == (0.5, 10.0)
    assert (sliding.hop_samples, sliding.window_steps, sliding.first_steps) == (1_500, 250, 50)


def test_the_window_is_the_tags() -> None:
    tagging = muq_tagging(["a"], window_seconds=1.5)
    sliding = SlidingConfig.every(FRAMING, tagging)
    assert (sliding.window_steps, sliding.first_steps) == (38, 38)
    assert SlidingConfig.every(FRAMING, tagging, window_seconds=4.0).window_steps == 100
    # Never less than the model's minimum.
    assert SlidingConfig.every(FRAMING, hop_seconds=0.04, window_seconds=0.05).window_steps == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_seconds": 0}, "a window of 0 s"),
        ({"window_seconds": np.nan}, "a window of nan s"),
        ({"window_seconds": 601}, "600 s at most"),
        ({"hop_seconds": 0.039}, r"a hop of 0\.039 s; it must be 0\.04 s at least"),
        ({"hop_seconds": 10.1}, "at most the window's 10 s"),
        ({"hop_seconds": np.nan}, "a hop of nan s"),
        ({"first_seconds": 0}, "a first answer after 0 s"),
        ({"first_seconds": np.nan}, "a first answer after nan s"),
    ],
)
def test_lengths_that_make_no_sense(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SlidingConfig.every(FRAMING, **arguments)  # type: ignore[arg-type]


SLIDING = SlidingConfig(FRAMING, hop_samples=500, window_steps=10, first_steps=5)
TONE = np.sin(np.arange(5_000, dtype=np.float32))

BAD_CHUNKS = [
    (np.array([0, np.nan], np.float32), "NaN or infinite"),
    (np.array([0, np.inf]), "NaN or infinite"),
    (np.full(9, 1e4, np.float32), "full scale is 1"),
    (np.zeros(0, np.float32), "no samples"),
    (np.zeros(9, np.float16), "dtype float16"),
    (np.zeros(9, np.uint8), "dtype uint8"),
    (np.zeros((9, 2), np.float32), "looks like"),
    (np.zeros((1, 1, 9), np.float32), r"pass \(samples,\)"),
    (np.float32(0), r"pass \(samples,\)"),
    (np.zeros(30_001, np.float32), r"send at most 30000 \(10 s\) at once"),
    (np.zeros((2, 30_001), np.int16), "send at most 30000"),
]


@pytest.mark.parametrize(("chunk", "message"), BAD_CHUNKS)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_bad_chunk_leaves_the_stream_as_it_was(
    chunk: np.ndarray, message: str, is_last: bool
) -> None:
    stream, alone = Stream(SLIDING, RATE_HZ, name="radio"), Stream(SLIDING, RATE_HZ)
    stream.append(TONE[:1_777])
    with pytest.raises(AudioError, match=f"^radio: .*{message}"):
        stream.append(np.asarray(chunk), is_last)
    stream.append(TONE[1_777:], is_last=True)
    alone.append(TONE, is_last=True)
    for one, other in zip(taken(stream), taken(alone), strict=True):
        np.testing.assert_array_equal(one.waveform, other.waveform)
        assert (one.start_step, one.is_last) == (other.start_step, other.is_last)


def test_the_chunks_may_be_overwritten() -> None:
    stream, chunk = Stream(SLIDING, RATE_HZ), TONE.copy()
    stream.append(chunk, is_last=True)
    chunk[:] = np.nan
    assert all(np.isfinite(window.waveform).all() for window in taken(stream))


@pytest.mark.parametrize("is_last", [False, True])
def test_nothing_comes_after_the_end(is_last: bool) -> None:
    stream = Stream(SLIDING, RATE_HZ)
    stream.append(TONE, is_last=True)
    before = len(taken(stream))
    with pytest.raises(AudioError, match="it has ended; open another stream"):
        stream.append(TONE, is_last)
    assert before and not taken(stream)


@pytest.mark.parametrize("samples", [0, 1, 144])
def test_a_stream_too_short_for_the_model(samples: int) -> None:
    stream = Stream(SLIDING, RATE_HZ)
    with pytest.raises(AudioError, match=r"too short: 0\.0\d\d s; .* at least 0\.048 s"):
        stream.append(TONE[:samples] if samples else None, is_last=True)
    assert stream.ended and not taken(stream)


@pytest.mark.parametrize("rate_hz", [0, 999, 768_001])
def test_an_implausible_rate(rate_hz: int) -> None:
    with pytest.raises(AudioError, match=f"radio: a sample rate of {rate_hz} Hz"):
        Stream(SLIDING, rate_hz, name="radio")
