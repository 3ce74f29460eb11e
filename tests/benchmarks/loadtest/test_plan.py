"""The schedule: audio is never sent before it exists, in order, and hardly late."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.benchmarks.loadtest.outcome import expected_hops
from muqrt.benchmarks.loadtest.plan import STALL_EVERY_SECONDS, Life, Load, schedule
from muqrt.errors import UsageError
from muqrt.runtime.bundle.manifest import Framing
from muqrt.runtime.streaming.stream import SlidingConfig

RATE_HZ = 24_000
ROUNDING = 1e-6
LIMITS = {"minimum_samples": 1_025, "window_samples": 240_000}
FRAMING = Framing(sample_rate_hz=RATE_HZ, hop_samples=240, step_samples=960, **LIMITS)

LOADS = st.builds(
    Load,
    streams=st.integers(1, 5),
    seconds=st.floats(1, 25),
    chunk_seconds=st.floats(0.02, 10),
    jitter_seconds=st.floats(0, 3),
    disconnect=st.floats(0, 1),
    burst_seconds=st.floats(0, 5),
    seed=st.integers(0, 2**31),
)


@given(load=LOADS)
@settings(max_examples=40, deadline=None)
def test_chunks_come_in_order_never_early_and_hardly_late(load: Load) -> None:
    lives = schedule(load, RATE_HZ)
    assert len(lives) == load.streams + sum(life.vanishes for life in lives)
    assert sum(life.vanishes for life in lives) == round(load.disconnect * load.streams)
    for life in lives:
        assert life.chunks[0].first == 0
        assert all(one.last == next_.first for one, next_ in pairwise(life.chunks))
        assert all(one.at_seconds <= next_.at_seconds for one, next_ in pairwise(life.chunks))
        for chunk in life.chunks:
            assert 0 < chunk.last - chunk.first <= round(load.chunk_seconds * RATE_HZ)
            late = chunk.at_seconds - life.due_seconds(chunk.last / RATE_HZ)
            assert late >= -ROUNDING
            assert late <= max(load.jitter_seconds, load.burst_seconds) + ROUNDING


@given(load=LOADS)
@settings(max_examples=10, deadline=None)
def test_a_stream_that_vanishes_goes_on_as_a_new_one(load: Load) -> None:
    lives = iter(schedule(load, RATE_HZ))
    for life in lives:
        assert 0 <= life.start_seconds <= 1
        heard = life.chunks[-1].last / RATE_HZ
        if life.vanishes:
            following = next(lives)
            assert not following.vanishes
            assert following.start_seconds == pytest.approx(life.start_seconds + heard, abs=1e-4)
            heard += following.chunks[-1].last / RATE_HZ
        assert heard == pytest.approx(load.seconds, abs=1e-4)


def test_a_seed_is_a_schedule() -> None:
    load = Load(3, 5.0, jitter_seconds=0.05, disconnect=0.5, burst_seconds=1.0)

    def facts(load: Load) -> list[object]:
        return [(life.place, life.start_seconds, life.chunks) for life in schedule(load, RATE_HZ)]

    assert facts(load) == facts(load)
    assert facts(load) != facts(replace(load, seed=1))


def test_without_jitter_a_chunk_comes_the_moment_it_ends() -> None:
    (life,) = schedule(Load(1, 3.0, chunk_seconds=0.3), RATE_HZ)
    late = [c.at_seconds - life.due_seconds(c.last / RATE_HZ) for c in life.chunks]
    assert late == pytest.approx([0] * 10)
    # The first hop of 2 s lies in the chunk that ends at 2.1 s.
    assert life.arrived_seconds(2.0) - life.due_seconds(2.0) == pytest.approx(0.1)
    assert life.arrived_seconds(2.1) == pytest.approx(life.due_seconds(2.1))
    assert life.arrived_seconds(3.0) == pytest.approx(life.due_seconds(3.0))


def test_a_burst_is_one_moment_in_every_stretch() -> None:
    (life,) = schedule(Load(1, 2 * STALL_EVERY_SECONDS, burst_seconds=2.0), RATE_HZ)
    moments = [chunk.at_seconds for chunk in life.chunks]
    together = [moment for moment in set(moments) if moments.count(moment) > 1]
    assert len(together) == 2
    # 2 s of chunks of 0.1 s, and perhaps the one that ends at that moment.
    assert all(20 <= moments.count(moment) <= 21 for moment in together)


def test_what_arrived_late_goes_together_up_to_what_one_request_may_hold() -> None:
    (life,) = schedule(Load(1, 15.0, chunk_seconds=0.4), RATE_HZ)
    assert life.arrived(0, 0.0) == 0
    assert life.arrived(0, life.chunks[2].at_seconds) == 3
    assert life.arrived(5, 60.0) == 30  # 25 chunks are 10 s
    assert life.arrived(30, 60.0) == life.delivered == 38


@pytest.mark.parametrize("vanishes", [False, True])
@pytest.mark.parametrize("samples", [959, 960, 47_999, 48_000, 59_520, 60_001, 500_123])
def test_expected_hops_are_those_of_the_steps_counted_one_by_one(
    samples: int, vanishes: bool
) -> None:
    sliding = SlidingConfig.every(FRAMING, hop_seconds=0.5, window_seconds=10.0, first_seconds=2.0)
    (life,) = schedule(Load(1, samples / RATE_HZ + 1, chunk_seconds=0.7), RATE_HZ)
    chunks = [c for c in life.chunks if c.last <= samples]
    life = Life(0.0, RATE_HZ, (*chunks, replace(life.chunks[-1], first=0, last=samples)), 0, False)
    life = replace(life, vanishes=vanishes)
    heard = samples if not vanishes else (chunks[-1].last if chunks else 0)
    # A hop ends at every half second from 2 s on, rounded down to steps of 40 ms.
    ends = [hop * 12_000 // 960 * 960 for hop in range(4, 50)]
    expected = sum(end <= heard for end in ends)
    if not vanishes and heard not in ends:
        expected += 1
    assert expected_hops(life, sliding) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"streams": 0},
        {"seconds": 0.5},
        {"seconds": float("nan")},
        {"chunk_seconds": 0.001},
        {"chunk_seconds": 11.0},
        {"jitter_seconds": -1.0},
        {"disconnect": 1.1},
        {"burst_seconds": 6.0},
    ],
)
def test_loads_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Load(**{"streams": 1, "seconds": 2.0, **wrong})  # type: ignore[arg-type]
