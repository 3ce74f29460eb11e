"""Put KeyboardInterrupt off where it would leave something half-done.

Python raises it between any two steps: in the midst of a ``finally``, and when a call has succeeded
but its result is not yet kept. Signals are handled in the main thread, and other threads go on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _State(threading.local):
    """What concerns the main thread; other threads' states never change but in depth."""

    depth = 0  # of blocks that are not interrupted
    is_due = False  # at the end of the outermost one
    is_interrupted = False


_state = _State()


def interrupt(number: int | None = None, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt, but not in the midst of an ``uninterrupted`` block.

    A handler of signals, as ``signal.default_int_handler`` is one.
    """
    _state.is_interrupted = True
    _state.is_due = _state.depth > 0
    if not _state.is_due:
        raise KeyboardInterrupt


def interrupt_once(number: int | None = None, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt unless one has been: what cleans up after it is not interrupted."""
    if not _state.is_interrupted:
        interrupt()


def is_interrupted() -> bool:
    """Whether ``interrupt`` has been called since ``forget``."""
    return _state.is_interrupted


def forget() -> None:
    """Begin anew: nothing has been interrupted."""
    _state.is_due = _state.is_interrupted = False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let ``interrupt`` wait until the block has ended; keep it short."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        if _state.is_due and not _state.depth:
            _state.is_due = False
            raise KeyboardInterrupt
