"""What runs ahead gives the same, in the same order, and ends with its user."""

import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.runtime.audio.prefetch import prefetch
from muqrt.runtime.audio.tracks import Track, one_track, prefetched_tracks


class Source:
    """Counts to ten, and remembers how far it came and whether it was closed."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.made, self.closed, self.fails_at = 0, False, fails_at

    def items(self) -> Generator[int, None, None]:
        try:
            for number in range(10):
                if number == self.fails_at:
                    raise AudioError(f"no {number}")
                self.made += 1
                yield number
        finally:
            self.closed = True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_same_items_in_the_same_order(most: int) -> None:
    source = Source()
    assert list(prefetch(source.items(), most)) == list(range(10))
    assert source.closed


@pytest.mark.parametrize("most", [1, 4])
def test_so_many_are_made_ahead_and_no_more(most: int) -> None:
    source = Source()
    running = prefetch(source.items(), most)
    assert source.made == 0
    for taken in range(1, 4):
        next(running)
        wait_until(lambda taken=taken: source.made == taken + most)  # type: ignore[misc]
    time.sleep(0.02)
    assert source.made == 3 + most
    running.close()


def test_an_error_comes_in_its_place() -> None:
    running = prefetch(Source(fails_at=3).items(), 10)
    assert [next(running) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(AudioError, match="no 3"):
        next(running)


@pytest.mark.parametrize("used", [1, 5])
@pytest.mark.parametrize("abandoned", [False, True])
def test_the_thread_ends_when_nobody_wants_more(used: int, abandoned: bool) -> None:
    before, source = threads(), Source()
    running = prefetch(source.items(), 2)
    for _ in range(used):
        next(running)
    assert threads() == before + 1
    if abandoned:
        del running
        gc.collect()
    else:
        running.close()
    wait_until(lambda: source.closed and threads() == before)
    assert source.made < 10


def test_tracks_keep_their_blocks_and_their_errors(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "text.wav").write_text("not audio")
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 50_000)).astype(np.float32)
    good, bad, other = noise[0], np.full(9, np.nan, np.float32), noise[1]
    tracks = [one_track(x, 24_000) for x in (good, bad, tmp_path / "text.wav", other)]
    found = []
    for track, blocks in prefetched_tracks(tracks, 24_000):
        try:
            found.append((track, np.concatenate(list(blocks))))
        except AudioError as error:
            found.append((track, str(error)))
    assert [track for track, _ in found] == tracks
    np.testing.assert_array_equal(found[0][1], good)
    assert "NaN" in found[1][1] and "text.wav" in found[2][1]
    np.testing.assert_array_equal(found[3][1], other)


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(0, 2_500), max_size=12), fails=st.booleans())
def test_blocks_of_any_length_come_by_the_second(lengths: list[int], fails: bool) -> None:
    samples = np.arange(sum(lengths), dtype=np.float32)

    class Blocks(Track):
        def blocks(self, *_: object) -> Iterator[np.ndarray]:
            yield from np.split(samples, np.cumsum(lengths))
            if fails:
                raise AudioError("damaged")

    found: list[np.ndarray] = []
    for _, blocks in prefetched_tracks([Blocks("song.wav", None, "song")], 1_000):
        if fails:
            with pytest.raises(AudioError, match="damaged"):
                found.extend(blocks)
        else:
            found.extend(blocks)
    np.testing.assert_array_equal(np.concatenate([samples[:0], *found]), samples)
    assert all(len(block) == 1_000 for block in found[:-1])


def test_the_next_window_is_decoded_while_the_engine_runs_however_short_the_blocks_are() -> None:
    decoded_seconds = 0.0

    class Song(Track):
        def blocks(self, rate_hz: int, *_: object) -> Iterator[np.ndarray]:
            nonlocal decoded_seconds
            for _ in range(1_000):  # 0.09 s each, as of a file of 192 kHz
                decoded_seconds += 0.09
                yield np.zeros(rate_hz * 9 // 100, np.float32)

    running = prefetched_tracks([Song("song.wav", None, "song")], 24_000)
    _, blocks = next(running)
    next(blocks)
    wait_until(lambda: decoded_seconds > 32)
    time.sleep(0.02)
    assert decoded_seconds < 36
    running.close()


def test_the_rest_of_a_track_may_be_left() -> None:
    tracks = [one_track(np.full(50_000, value, np.float32), 24_000) for value in (0.25, 0.5)]
    firsts = [next(blocks)[0] for _, blocks in prefetched_tracks(tracks, 24_000)]
    assert firsts == [0.25, 0.5]


def test_tracks_that_cannot_be_listed_are_an_error_in_its_place() -> None:
    def listed() -> Generator:  # type: ignore[type-arg]
        yield one_track(np.ones(2_000, np.float32), 24_000)
        raise RuntimeError("the disk is gone")

    running = prefetched_tracks(listed(), 24_000)
    _, blocks = next(running)
    assert sum(map(len, blocks)) == 2_000
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(running)
