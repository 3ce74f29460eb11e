"""Trying again: how long the pauses are, and when it is given up."""

from collections.abc import Callable

import pytest

from muqrt.common.retry import Backoff, Retry

BACKOFF = Backoff(first_seconds=0.1, longest_seconds=2.0)


class BusyError(Exception):
    """What is retried here."""


class Clock:
    """Time that goes on by the pauses that were asked for, none of which is taken."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return 1_000.0 + sum(self.pauses)


def retrying(clock: Clock, *limits: float, since: float | None = None) -> Retry:
    return Retry(BACKOFF, *limits, since=since, clock=clock, sleep=clock.pauses.append)


def busy(failures: int) -> Callable[[], str]:
    """An attempt that fails that many times, then answers."""
    answers = iter([False] * failures + [True])

    def attempt() -> str:
        if not next(answers):
            raise BusyError("full")
        return "answer"

    return attempt


def test_pauses_grow_and_differ() -> None:
    pauses = [[BACKOFF.pause_seconds(failures) for _ in range(20)] for failures in range(10)]
    assert all(len(set(each)) > 1 for each in pauses)
    assert all(0.05 <= pause <= 0.1 for pause in pauses[0])
    assert all(1 <= pause <= 2 for pause in pauses[9])


def test_an_attempt_is_made_again_with_growing_pauses() -> None:
    clock = Clock()
    assert retrying(clock, 60).call(busy(4), BusyError) == "answer"
    assert len(clock.pauses) == 4
    assert clock.pauses[0] <= 0.1 < 0.4 <= clock.pauses[3] <= 0.8


def test_after_so_many_failures_the_last_is_raised() -> None:
    clock = Clock()
    with pytest.raises(BusyError, match="full"):
        retrying(clock, 60, 6).call(busy(100), BusyError)
    assert len(clock.pauses) == 6
    assert retrying(Clock(), 60, 6).call(busy(6), BusyError) == "answer"


def test_no_pause_goes_past_the_patience() -> None:
    clock = Clock()
    with pytest.raises(BusyError, match="full"):
        retrying(clock, 60).call(busy(100), BusyError)
    assert 60 - BACKOFF.longest_seconds < sum(clock.pauses) <= 60
    late = Clock()
    with pytest.raises(BusyError, match="full"):
        retrying(late, 60, since=late() - 60).call(busy(1), BusyError)
    assert late.pauses == []


def test_a_success_begins_anew() -> None:
    clock = Clock()
    retry = retrying(clock, 0.15)
    for _ in range(3):
        clock.pauses.append(retry.pause_after(BusyError()))
        assert clock.pauses[-1] <= 0.1 and retry.failures == 1
        retry.succeeded()
        assert retry.failures == 0


def test_other_errors_are_not_retried() -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        retrying(Clock(), 60).call(broken, BusyError)
