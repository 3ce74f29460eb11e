"""A signal ends every command soon, whatever its threads and libraries are doing.

Python raises KeyboardInterrupt only between two steps of its own: a library that decodes or
multiplies for a minute is not interrupted, and threads are waited for at the end. A thread of
its own, woken by the signal itself, gives a command time to end properly, and then ends it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

INTERRUPTED = 130
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_READER = "prefetch"  # the name of runtime.audio.prefetch's threads
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_SIGNALS = {signal.SIGINT, *_ENDING}
_patient, _signalled = threading.Event(), threading.Event()
# A child's signals are not this process's.
os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the process soon after a signal that comes in this block, even in the midst of a call.

    SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does: a stopped container and a closed
    terminal clean up, too. What is ignored stays so, such as SIGHUP under nohup.
    """
    taken = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    done = threading.Event()
    _signalled.clear()
    threading.Thread(target=_watch, args=(reading, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(previous)
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        os.close(writing)


@contextmanager
def at_its_own_pace() -> Iterator[None]:
    """Let what is in flight be finished after a first signal; a second one ends the process."""
    _patient.set()
    try:
        yield
    finally:
        _patient.clear()


def was_interrupted() -> bool:
    """Whether a signal has come since the block was entered."""
    return _signalled.wait(_POLL_SECONDS)  # the watching thread may be about to learn of it


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    After a signal at once where audio is still being read, perhaps from a network that sends
    nothing: at the interpreter's end libraries would complain of what that thread holds.
    """
    if not (_signalled.is_set() and any(each.name == _READER for each in threading.enumerate())):
        sys.exit(code)
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _watch(reading: int, done: threading.Event) -> None:
    while True:
        number = os.read(reading, 1)
        if not number:  # the block has ended without a signal
            os.close(reading)
            return
        if number[0] not in _SIGNALS:
            continue
        _signalled.set()
        if not _patient.is_set():
            break
        _patient.clear()
    time.sleep(_PATIENCE_SECONDS)
    # After the block the interpreter waits for threads, once its main thread has ended.
    while done.is_set() and threading.main_thread().is_alive():
        time.sleep(_POLL_SECONDS)
    from ..common.files import remove_partial_folders  # only a command that writes needs it

    remove_partial_folders()
    with suppress(OSError):
        shown = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
        os.write(2, b"" if done.is_set() else f"{shown}muqrt: interrupted.\n".encode())
    os._exit(INTERRUPTED)
