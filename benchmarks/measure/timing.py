"""Timing contenders by turns, and the statistics of their samples."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_ROUNDS = 3
# A thread pool spins for a while after its run (ONNX Runtime's for over 20 ms) and would take
# cores from the next contender.
_PAUSE_SECONDS = 0.05
MATRIX_WIDTH = {"cpu": 2048, "cuda": 8192}  # of square ones that keep the device busy
_RATE_ROUNDS, _RATE_SECONDS = 10, 10.0

EAGER = "PyTorch eager"  # the contender that all others are compared with
Run = Callable[[], object]
Stopwatch = Callable[[Run], float]  # seconds that one call takes


@dataclass(frozen=True)
class Spread:
    """Median and 10th, 90th and 99th percentiles of samples, in their unit."""

    median: float
    p10: float
    p90: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One contender's seconds.

    Attributes:
        contender: its name.
        samples_seconds: one per round.
        median_seconds, p10_seconds, p90_seconds: their median, 10th and 90th percentiles.
        speedup: the median over the rounds of eager's seconds over this contender's.
    """

    contender: str
    samples_seconds: list[float]
    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    speedup: float

    def cells(self, scale: float = 1.0) -> list[str]:
        """Median, 10th to 90th percentile and speedup for a table, the seconds times ``scale``."""
        low, high = self.p10_seconds * scale, self.p90_seconds * scale
        return [
            f"{self.median_seconds * scale:.3g}",
            f"{low:.3g} to {high:.3g}",
            f"{self.speedup:.2f}",
        ]


def spread(samples: Sequence[float]) -> Spread:
    """Median and percentiles, linearly interpolated between samples."""
    p10, median, p90, p99 = map(float, np.percentile(samples, [10, 50, 90, 99]))
    return Spread(median, p10, p90, p99)


def ratios(baseline: Sequence[float], samples: Sequence[float]) -> list[float]:
    """How many times faster than the baseline, round by round."""
    return [theirs / ours for theirs, ours in zip(baseline, samples, strict=True)]


def stopwatch(run: Run) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cuda_stopwatch(run: Run) -> float:
    """Seconds that one call takes on the current CUDA device, gaps between kernels included."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def compare(samples: Mapping[str, list[float]]) -> list[Timing]:
    """The statistics of runs that were timed by turns, ``EAGER`` among them."""
    found = []
    for name, ours in samples.items():
        seconds = spread(ours)
        timing = Timing(
            contender=name,
            samples_seconds=ours,
            median_seconds=seconds.median,
            p10_seconds=seconds.p10,
            p90_seconds=seconds.p90,
            speedup=spread(ratios(samples[EAGER], ours)).median,
        )
        found.append(timing)
    return found


def by_turns(
    runs: Mapping[str, Run],
    rounds: int,
    budget_seconds: float,
    stopwatch: Stopwatch = stopwatch,
    warm_up: bool = False,
) -> dict[str, list[float]]:
    """Time every run once a round, so that the machine's drift hits all of them alike.

    The order within a round is shuffled (seeded), so that no run always follows the same one.

    Args:
        runs: what to time, already warm.
        rounds: how many rounds to run.
        budget_seconds: start no new round after this time, except to reach ``LEAST_ROUNDS``.
        stopwatch: times one call; the default is for the CPU.
        warm_up: make an untimed call before each timed one. A whole model that has just had the
            machine to itself finds its weights and memory as it left them; one that takes turns
            with others does not, and models are not served by turns.

    Returns:
        Seconds of each run, one per round, in the rounds' order.
    """
    order = list(runs)
    shuffler = random.Random(0)
    samples: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for done in range(rounds):
        if done >= LEAST_ROUNDS and time.perf_counter() - start > budget_seconds:
            break
        shuffler.shuffle(order)
        for name in order:
            time.sleep(_PAUSE_SECONDS)
            if warm_up:
                runs[name]()
            samples[name].append(stopwatch(runs[name]))
    return samples


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
    samples = by_turns(runs, _RATE_ROUNDS, _RATE_SECONDS, stopwatch)
    return {name: amount / spread(samples[name]).median for name, (_, amount) in work.items()}
