"""Windows tile every track exactly, however it is cut and however it arrives."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError, BundleError, SessionError, UsageError
from muqrt.runtime.bundle.manifest import Framing
from muqrt.runtime.inference.windows import Window, WindowingConfig

from ...framing import muq_framing

HOP, STEP = 3, 12


def framing(window_samples: int, minimum_samples: int = 5) -> Framing:
    lengths = {"hop_samples": HOP, "step_samples": STEP, "minimum_samples": minimum_samples}
    return muq_framing(window_samples, sample_rate_hz=300, **lengths)


def chunked(track: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(track, np.minimum(np.cumsum(sizes), len(track)))


def cut(
    windowing: WindowingConfig, track: np.ndarray, sizes: list[int] | None = None
) -> list[Window]:
    return list(windowing.cut(chunked(track, sizes or [])))


@st.composite
def windowings(draw: st.DrawFn) -> WindowingConfig:
    window_samples = draw(st.integers(2 * STEP, 15 * STEP))
    overlap_steps = draw(st.integers(0, window_samples // STEP - 1))
    return WindowingConfig(framing(window_samples), overlap_steps)


tracks = st.integers(5, 600).map(lambda samples: np.arange(samples, dtype=np.float32))
chunks = st.lists(st.integers(0, 200), max_size=12)


@settings(max_examples=300, deadline=None)
@given(windowings(), tracks, chunks)
def test_kept_steps_tile_the_track(
    windowing: WindowingConfig, track: np.ndarray, sizes: list[int]
) -> None:
    windows = cut(windowing, track, sizes)
    kept = [step for window in windows for step in window.keep]
    assert kept == list(range(windowing.steps(len(track))))
    for window in windows:
        assert len(window.keep) > 0
        assert window.start_step <= window.keep.start
        assert window.keep.stop <= window.start_step + window.steps
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]


@settings(max_examples=300, deadline=None)
@given(windowings(), tracks, chunks)
def test_windows_are_the_tracks_samples_and_full(
    windowing: WindowingConfig, track: np.ndarray, sizes: list[int]
) -> None:
    window_samples = windowing.framing.window_samples
    windows = cut(windowing, track, sizes)
    for window in windows:
        first = window.start_step * STEP
        np.testing.assert_array_equal(window.waveform, track[first : first + window_samples])
        assert window.steps == windowing.steps(len(window.waveform))
    assert all(len(window.waveform) == window_samples for window in windows[:-1])
    if len(track) <= window_samples:
        assert len(windows) == 1 and windows[0].is_whole_track
    else:
        assert len(windows) > 1 and not any(window.is_whole_track for window in windows)
        assert window_samples - STEP < len(windows[-1].waveform) <= window_samples


@settings(max_examples=200, deadline=None)
@given(windowings(), tracks, chunks)
def test_windows_do_not_depend_on_the_blocks(
    windowing: WindowingConfig, track: np.ndarray, sizes: list[int]
) -> None:
    whole, parts = cut(windowing, track), cut(windowing, track, sizes)
    assert len(whole) == len(parts)
    for one, other in zip(whole, parts, strict=True):
        assert (one.start_step, one.steps, one.keep) == (other.start_step, other.steps, other.keep)
        np.testing.assert_array_equal(one.waveform, other.waveform)


@settings(max_examples=100, deadline=None)
@given(windowings(), tracks)
def test_cuts_lie_in_the_middle_of_overlaps(windowing: WindowingConfig, track: np.ndarray) -> None:
    windows = cut(windowing, track)
    for one, following in pairwise(windows):
        left = one.keep.stop - following.start_step
        right = one.start_step + one.steps - one.keep.stop
        assert right - left in (0, 1)
        assert one.keep.stop == following.keep.start


@pytest.mark.parametrize(
    ("samples", "steps"), [(959, 1), (960, 1), (1199, 1), (1200, 2), (240_000, 250), (24_001, 25)]
)
def test_steps_are_the_models(samples: int, steps: int) -> None:
    muq = muq_framing(240_000)
    assert WindowingConfig(muq, 50).steps(samples) == steps


def test_the_end_of_a_stream_is_all_that_is_waited_for() -> None:
    """A window comes as soon as the next is certain: at most two windows and a block are held."""
    windowing = WindowingConfig(framing(10 * STEP), overlap_steps=2)
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(1000):
            read += STEP
            yield np.zeros(STEP, np.float32)

    for window in windowing.cut(blocks()):
        assert read - window.start_step * STEP <= (8 + 10 + 1) * STEP


def test_a_short_track_says_how_short() -> None:
    with pytest.raises(AudioError, match=r"a\.wav: too short: 0\.013 s; .* at least 0\.017 s"):
        list(WindowingConfig(framing(10 * STEP), 2).cut([np.zeros(4, np.float32)], "a.wav"))


@pytest.mark.parametrize("overlap_steps", [-1, 10, 11])
def test_an_impossible_overlap_is_refused(overlap_steps: int) -> None:
    with pytest.raises(UsageError, match="overlap of"):
        WindowingConfig(framing(10 * STEP + 5), overlap_steps)


def test_an_impossible_framing_is_refused() -> None:
    with pytest.raises(BundleError, match="at least"):
        WindowingConfig(framing(2 * STEP - 1), 0)
    with pytest.raises(BundleError, match="at least"):
        WindowingConfig(framing(10 * STEP, minimum_samples=10 * STEP), 0)


def test_a_wrong_number_of_steps_is_refused() -> None:
    (window,) = cut(WindowingConfig(framing(10 * STEP), 2), np.zeros(5 * STEP, np.float32))
    assert window.trim(np.zeros((5, 2))).shape == (5, 2)
    with pytest.raises(SessionError, match="gave 6 steps for 60 samples"):
        window.trim(np.zeros((6, 2)))


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 15), st.data(), tracks)
def test_windows_of_another_length_begin_every_hop(
    steps: int, data: st.DataObject, track: np.ndarray
) -> None:
    hop_steps = data.draw(st.integers(1, steps))
    step_seconds = STEP / 300
    model = framing(20 * STEP)
    windowing = WindowingConfig.every(model, steps * step_seconds, hop_steps * step_seconds)
    windows = cut(windowing, track)
    starts = [window.start_step for window in windows[:-1]]
    assert starts == [index * hop_steps for index in range(len(starts))]
    assert {len(window.waveform) for window in windows[:-1]} <= {steps * STEP}
    assert windowing.end_seconds(windows[-1]) == len(track) / 300
    # The stretch that a window stands for is the one nearest to its middle.
    for one, following in pairwise(windows):
        middles = [(2 * each.start_step + each.steps) / 2 for each in (one, following)]
        assert abs(one.keep.stop - sum(middles) / 2) <= 0.5


def test_the_hop_is_half_a_window_when_left_out() -> None:
    windowing = WindowingConfig.every(framing(20 * STEP), 10 * STEP / 300)
    starts = [window.start_step for window in cut(windowing, np.zeros(40 * STEP, np.float32))]
    assert starts == [0, 5, 10, 15, 20, 25, 30]
    assert WindowingConfig.every(framing(20 * STEP), 1.0, 1e-9).overlap_steps == 24


@pytest.mark.parametrize("hop_seconds", [0, -1, 1.01, np.nan, np.inf])
def test_an_impossible_hop_is_refused(hop_seconds: float) -> None:
    with pytest.raises(UsageError, match=r"a hop of .* s; it must be above 0 and at most .* 1 s"):
        WindowingConfig.every(framing(20 * STEP), 1.0, hop_seconds)


@settings(max_examples=100, deadline=None)
@given(st.integers(1025, 60_000), st.integers(6, 12), st.sampled_from([480, 960]))
def test_kept_steps_of_mel_tokens_see_no_edge_but_the_tracks(
    samples: int, window_steps: int, step: int
) -> None:
    """Frames are centred every 240 samples; their STFT windows are 2048 samples long."""
    music = muq_framing((window_steps + 960 // step) * step, step_samples=step)
    windowing = WindowingConfig.mel_tokens(music)
    windows = list(windowing.cut([np.zeros(samples, np.float32)]))
    assert [s for w in windows for s in w.keep] == list(range(samples // step))
    for window in windows:
        start = window.start_step * step
        stop = start + len(window.waveform)
        first, last = window.keep.start * step, window.keep.stop * step - 240
        assert start == 0 or first - 1024 >= start
        assert stop == samples or last + 1024 <= stop
