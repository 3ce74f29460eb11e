"""Put KeyboardInterrupt off where it would leave something half-done.

Python raises it between any two steps: in the midst of a ``finally``, and when a call has succeeded
but its result is not yet kept. Signals are handled in the main thread, and other threads go on.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

# Ctrl-C, a service manager's or a container's stop, and a closed terminal.
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_IMPORTING = "<frozen importlib._bootstrap>"
# soundfile's functions that libsndfile calls: what is raised in them is printed and lost.
_CALLED_BACK = {"vio_get_filelen", "vio_seek", "vio_read", "vio_write", "vio_tell"}


class _Blocks(threading.local):
    """How many uninterrupted blocks a thread is in."""

    depth = 0


@dataclass
class _State:
    """What the main thread has been told.

    Attributes:
        is_interrupted: KeyboardInterrupt has been raised, or is due.
        is_due: it is raised at the end of the outermost block.
        is_put_off: a signal came that has to be sent again.
    """

    is_interrupted: bool = False
    is_due: bool = False
    is_put_off: bool = False


_blocks, _state = _Blocks(), _State()


def interrupt(number: int | None = None, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt, but not in the midst of an ``uninterrupted`` block.

    A handler of signals, as ``signal.default_int_handler`` is one. While a module is imported it
    puts the signal off: NumPy would print a traceback, and half a module is left. So it does where
    a C library has called back.
    """
    _state.is_put_off = _is_in_vain(frame)
    if _state.is_put_off:
        return
    _state.is_interrupted = True
    _state.is_due = _blocks.depth > 0
    if not _state.is_due:
        raise KeyboardInterrupt


def interrupt_once(number: int | None = None, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt unless one has been: what cleans up after it is not interrupted."""
    if not _state.is_interrupted:
        interrupt(number, frame)


def is_interrupted() -> bool:
    """Whether KeyboardInterrupt has been raised since ``forget``."""
    return _state.is_interrupted


def was_put_off() -> bool:
    """Whether the signal has to be sent again; that is said once for each time."""
    put_off, _state.is_put_off = _state.is_put_off, False
    return put_off


def forget() -> None:
    """Begin anew: nothing has been interrupted."""
    vars(_state).update(vars(_State()))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let ``interrupt`` wait until the block has ended; keep it short."""
    _blocks.depth += 1
    try:
        yield
    finally:
        _blocks.depth -= 1
        # Another thread's block ends without the main thread's exception.
        if _state.is_due and not _blocks.depth and _is_main():
            _state.is_due = False
            raise KeyboardInterrupt


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_in_vain(frame: FrameType | None) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _IMPORTING or code.co_name in _CALLED_BACK:
            return True
        frame = frame.f_back
    return False
