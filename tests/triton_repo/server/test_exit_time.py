"""The time to stop runs once, from the first part that stops."""

from muqrt.triton_repo.server.exit_time import ExitTime


def test_what_stops_later_has_what_is_left() -> None:
    now = 100.0
    exit_time = ExitTime(10, lambda: now)
    now = 200.0
    assert exit_time.left_seconds == 10
    exit_time.begin()
    now = 203.0
    exit_time.begin()
    assert exit_time.left_seconds == 7
    now = 300.0
    assert exit_time.left_seconds == 0
