"""A signal ends every command soon, whatever its threads and libraries are doing.

Python raises KeyboardInterrupt only between two steps of its own: a library that decodes or
multiplies for a minute is not interrupted, and threads are waited for at the end. A thread of
its own, woken by the signal itself, gives a command time to end properly, and then ends it.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from ..common.interrupts import ENDING_SIGNALS, forget, interrupt_once, is_interrupted, was_put_off

INTERRUPTED = 130
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_READER = "prefetch"  # the name of runtime.audio.prefetch's threads
_USUAL = (signal.SIG_DFL, signal.default_int_handler)
_patient, _signalled = threading.Event(), threading.Event()
# A child's signals are not this process's.
os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the process soon after a signal that comes in this block, even in the midst of a call.

    The first of them raises KeyboardInterrupt, whichever it is: a stopped container and a closed
    terminal clean up, as Ctrl-C does. What is ignored stays so, such as SIGHUP under nohup. When
    the block has ended by itself, a signal ends the process at once.
    """
    taken = [each for each in ENDING_SIGNALS if signal.getsignal(each) in _USUAL]
    forget()
    for number in taken:
        signal.signal(number, interrupt_once)
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
        if not is_interrupted():  # else no other may disturb what follows
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

    After a signal what is left half-done is removed: it may have come in the midst of a clean-up.
    Where audio is still being read, perhaps from a network that sends nothing, the process ends at
    once: at the interpreter's end libraries would complain of what that thread holds.
    """
    if is_interrupted() and "muqrt.common.lock" in sys.modules:  # it may have written something
        from ..common.files import clean_up

        clean_up()
    if not (_signalled.is_set() and any(each.name == _READER for each in threading.enumerate())):
        sys.exit(code)
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _watch(reading: int, done: threading.Event) -> None:
    number, poll_seconds = b"", None
    while True:
        if not select.select([reading], [], [], poll_seconds)[0]:
            if was_put_off() and not done.is_set():
                _send_again(number[0])
                os.read(reading, 1)  # of the one just sent, not of a second signal
            continue
        number = os.read(reading, 1)
        if not number:  # the block has ended without a signal
            os.close(reading)
            return
        if number[0] not in ENDING_SIGNALS:
            continue
        _signalled.set()
        if not _patient.is_set():
            break
        _patient.clear()
        poll_seconds = _POLL_SECONDS
    for _ in range(round(_PATIENCE_SECONDS / _POLL_SECONDS)):
        time.sleep(_POLL_SECONDS)
        if was_put_off() and not done.is_set():
            _send_again(number[0])
    # After the block the interpreter waits for threads, once its main thread has ended.
    while done.is_set() and threading.main_thread().is_alive():
        time.sleep(_POLL_SECONDS)
    from ..common.files import remove_partial_folders  # only a command that writes needs it

    remove_partial_folders()
    with suppress(OSError):
        shown = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides the cursor
        os.write(2, b"" if done.is_set() else f"{shown}muqrt: interrupted.\n".encode())
    os._exit(INTERRUPTED)


def _send_again(number: int) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)
