"""How busy other programs kept the processor while something was measured."""

import os
import time
from collections.abc import Callable

import psutil


def watch_neighbours() -> Callable[[], float]:
    """Start to watch other programs.

    Returns:
        A function without arguments: the share of all cores' time since then, 0 to 1, that went to
        processes other than this one, or was taken by the host of a virtual machine.
    """
    start, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()

    def share() -> float:
        cores_seconds = (time.perf_counter() - start) * (os.cpu_count() or 1)
        others = (_busy_seconds() - busy) - (time.process_time() - own)
        # The kernel counts in ticks, so that a short or quiet time can come out below zero.
        return min(max(others / cores_seconds, 0.0), 1.0)

    return share


def _busy_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    # Guests are counted as users too.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return sum(seconds for kind, seconds in times.items() if kind not in idle)


def processor_seconds(process: psutil.Process) -> float:
    """What a process has had of the processor, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)
