"""Statistics against figures worked out by hand, and the order of the turns."""

import pytest

from muqrt.benchmarks.measure import timing
from muqrt.benchmarks.measure.timing import (
    EAGER,
    LEAST_ROUNDS,
    Run,
    by_turns,
    compare,
    ratios,
    spread,
    stopwatch,
)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PAUSE_SECONDS", 0)


def test_spread_interpolates_between_samples() -> None:
    # Eleven samples lie at 0 %, 10 %, ... 100 %.
    found = spread([10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert (found.p10, found.median, found.p90) == (1, 5, 9)
    # Of two, the 10th percentile lies a tenth of the way.
    found = spread([1.0, 2.0])
    assert (found.p10, found.median, found.p90) == pytest.approx((1.1, 1.5, 1.9))


def test_one_sample_is_its_own_spread() -> None:
    found = spread([3.0])
    assert (found.p10, found.median, found.p90) == (3.0, 3.0, 3.0)


def test_ratios_are_taken_round_by_round() -> None:
    eager, ours = [2.0, 4.0, 9.0], [1.0, 4.0, 3.0]
    assert ratios(eager, ours) == [2.0, 1.0, 3.0]
    # The median of the ratios, 2, is not the ratio of the medians, 4 / 3.
    assert spread(ratios(eager, ours)).median == 2.0


def test_ratios_of_unequal_rounds_are_refused() -> None:
    with pytest.raises(ValueError):
        ratios([1.0, 2.0], [1.0])


def test_a_drift_that_hits_all_alike_leaves_the_ratio() -> None:
    drift = [1.0, 1.5, 3.0]
    eager, ours = [2 * x for x in drift], [1 * x for x in drift]
    assert spread(ratios(eager, ours)).median == 2.0


def test_a_comparison_has_the_statistics_and_the_speedup() -> None:
    eager, ours = compare({EAGER: [2.0, 4.0, 9.0], "ours": [1.0, 4.0, 3.0]})
    assert (eager.contender, eager.speedup) == (EAGER, 1.0)
    assert (ours.median_seconds, ours.speedup) == (3.0, 2.0)
    assert ours.cells(scale=1000) == ["3e+03", "1.4e+03 to 3.8e+03", "2.00"]


def test_everyone_has_a_turn_in_every_round() -> None:
    calls: list[str] = []
    samples = by_turns(
        {name: lambda name=name: calls.append(name) for name in "abc"}, rounds=6, budget_seconds=60
    )
    rounds = [calls[start : start + 3] for start in range(0, len(calls), 3)]
    assert len(rounds) == 6
    assert all(sorted(turn) == ["a", "b", "c"] for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1
    assert {name: len(found) for name, found in samples.items()} == {"a": 6, "b": 6, "c": 6}


def test_the_budget_ends_the_rounds_but_not_before_the_least() -> None:
    assert len(by_turns({"a": int}, rounds=50, budget_seconds=0)["a"]) == LEAST_ROUNDS


def test_stopwatch_measures_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("muqrt.benchmarks.measure.timing.time.perf_counter", lambda: now[0])
    assert stopwatch(lambda: now.append(now.pop() + 2.5)) == 2.5


def test_only_the_second_of_two_calls_is_timed_when_warming_up() -> None:
    timed: list[int] = []
    calls: list[str] = []

    def watch(run: Run) -> float:
        run()
        timed.append(len(calls))
        return 1.0

    by_turns({"a": lambda: calls.append("a")}, 3, 60, watch, warm_up=True)
    assert timed == [2, 4, 6]
