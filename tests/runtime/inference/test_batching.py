"""Jobs come back in order and done, in full batches, and few are held at a time."""

from collections.abc import Iterator
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.runtime.audio.tracks import Track
from muqrt.runtime.engines.session import Session
from muqrt.runtime.inference.batching import Failure, Job, batches, run_in_batches
from muqrt.runtime.inference.windows import Window

TRACK = Track("a.wav", None, "a.wav")
ENGINES = Mock(Session), Mock(Session)


def job(samples: int, output: str = "features") -> Job:
    waveform = np.zeros(samples, np.float32)
    window = Window(0, 1, waveform, range(1), True)
    return Job(TRACK, window, output, ENGINES[samples % 2], waveform)


class Runner:
    """Finishes jobs and remembers the batches: how many jobs, of how many samples each."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def __call__(self, jobs: list[Job]) -> None:
        ((samples, *_),) = {(len(each.input), each.output, each.engine) for each in jobs}
        self.batches.append((len(jobs), samples))
        for each in jobs:
            assert not each.done
            each.finish(np.zeros(1, np.float32))


mixed_jobs = st.lists(
    st.one_of(
        st.integers(1, 3).map(job),
        st.builds(job, st.just(1), st.just("embedding")),
        st.builds(Failure, st.just(TRACK), st.just(AudioError("bad"))),
    ),
    max_size=40,
)


@given(mixed_jobs, st.integers(1, 6))
def test_all_are_done_once_and_in_order_and_few_are_held(
    jobs: list[Job | Failure], batch_size: int
) -> None:
    read = 0

    def reading() -> Iterator[Job | Failure]:
        nonlocal read
        for each in jobs:
            read += 1
            yield each

    runner = Runner()
    results: list[Job | Failure] = []
    for done in run_in_batches(reading(), runner, batch_size):
        assert done.done
        assert read - len(results) <= 2 * batch_size
        results.append(done)
    assert results == jobs
    assert all(count <= batch_size for count, _ in runner.batches)


def test_batches_are_full() -> None:
    runner = Runner()
    list(run_in_batches((job(7) for _ in range(10)), runner, 4))
    assert runner.batches == [(4, 7), (4, 7), (2, 7)]


@pytest.mark.parametrize("batch_size", [2, 4])
def test_batches_are_full_although_every_track_ends_with_an_odd_window(batch_size: int) -> None:
    runner = Runner()
    # As from tracks of a full window and a shorter last one, of which no two are alike.
    lengths = [length for number in range(8) for length in (100, number + 1)]
    list(run_in_batches(map(job, lengths), runner, batch_size))
    assert runner.batches.count((batch_size, 100)) == 8 // batch_size


def test_items_of_one_kind_are_batched_in_their_order() -> None:
    found = [*batches(range(10), lambda number: number % 3, 3)]
    assert found == [[0, 3, 6], [9], [1, 4, 7], [2, 5, 8]]
