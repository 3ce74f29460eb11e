"""Processes that work for this one: they end when it does, and at once when it is stopped."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, parent_process, resource_tracker
from threading import Thread

from ..interrupts import ENDING_SIGNALS


def end_with_parent() -> None:
    """Called in a worker: end it when the process that started it has ended, even when killed."""
    Thread(target=_end_with_parent, daemon=True).start()


@contextmanager
def signals_left_to_parent() -> Iterator[None]:
    """Workers that are spawned in the block get none of the signals that end a process.

    Ctrl-C and a closed terminal reach the whole group, a worker that still imports included; the
    process that started it says when to stop.
    """
    resource_tracker.ensure_running()  # it starts with the first worker, and unblocks signals
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def killed_when_stopped(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Kill a pool's processes when an exception ends the block, in which all of them start."""
    others = active_children()
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        workers = [each for each in active_children() if each not in others]
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        raise


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
