"""The highest rates a device reaches, measured."""

from collections.abc import Mapping

from .timing import Run, Stopwatch, by_turns, spread, stopwatch

MATRIX_WIDTH = {"cpu": 2048, "cuda": 8192}  # of square ones that keep the device busy
_ROUNDS = 10
_BUDGET_SECONDS = 10.0


def measure_rates(
    work: Mapping[str, tuple[Run, float]], stopwatch: Stopwatch = stopwatch
) -> dict[str, float]:
    """Time every run by turns, after a first call each.

    Args:
        work: each run, and how much it does, such as bytes or operations.
        stopwatch: times one call; the default is for the CPU.

    Returns:
        How much each does in a second, by the median.
    """
    runs = {name: run for name, (run, _) in work.items()}
    for run in runs.values():
        run()
    samples = by_turns(runs, _ROUNDS, _BUDGET_SECONDS, stopwatch)
    return {name: amount / spread(samples[name]).median for name, (_, amount) in work.items()}
