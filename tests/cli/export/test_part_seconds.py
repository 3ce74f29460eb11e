"""Seconds go to the part whose step they end with."""

from muqrt.cli.export.part_seconds import PartSeconds, seconds_table


def test_time_counts_for_the_step_it_ends_with() -> None:
    wall, processor = iter([10.0, 11.0, 14.0, 14.5, 20.0]), iter([0.0, 2.0, 2.5, 3.5, 4.0])
    seen: list[str] = []
    timer = PartSeconds(seen.append, lambda: next(wall), lambda: next(processor))
    for step in ("loading", "parity: song.mp3", "parity: C: other.mp3"):
        timer(step)
    found = timer.finish()
    assert seen == ["loading", "parity: song.mp3", "parity: C: other.mp3"]
    assert found == {
        "loading": {"wall": 1.0, "processor": 2.0},
        "parity": {"wall": 3.5, "processor": 1.5},
        "the rest": {"wall": 5.5, "processor": 0.5},
        "total": {"wall": 10.0, "processor": 4.0},
    }
    assert seconds_table(found).rows[1] == ["parity", "3.5", "1.5"]


def test_a_build_without_steps_has_a_total() -> None:
    found = PartSeconds(lambda step: None, iter([1.0, 3.0]).__next__, iter([0.0, 0.5]).__next__)
    assert found.finish()["total"] == {"wall": 2.0, "processor": 0.5}
