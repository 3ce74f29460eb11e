"""The newest samples are those of the stream, wherever they are read and whatever was dropped."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.runtime.audio.recent import RecentSamples


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.data())
def test_samples_are_the_streams(sizes: list[int], data: st.DataObject) -> None:
    stream = np.arange(sum(sizes), dtype=np.float32)
    recent, kept, stop = RecentSamples(), 0, 0
    held: list[tuple[np.ndarray, int]] = []
    for size in sizes:
        block = stream[stop : stop + size].copy()
        recent.append(block)
        stop += size
        assert recent.stop == stop
        first = data.draw(st.integers(kept, stop))
        last = data.draw(st.integers(first, stop))
        held.append((recent.between(first, last), first))
        if data.draw(st.booleans()):
            kept = first
            recent.drop_before(kept)
    # What was read stays what it was, whatever came or went since.
    for samples, first in held:
        np.testing.assert_array_equal(samples, stream[first : first + len(samples)])


def test_memory_is_that_of_what_was_not_dropped() -> None:
    recent = RecentSamples()
    tracemalloc.start()
    for block in range(3_000):
        recent.append(np.full(480, block, np.float32))
        if block % 25 == 24:
            recent.drop_before(max(0, recent.stop - 48_000))
    current_bytes, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recent.stop == 3_000 * 480
    assert current_bytes < 1.6 * 48_000 * 4
    assert peak_bytes < 3 * 48_000 * 4
