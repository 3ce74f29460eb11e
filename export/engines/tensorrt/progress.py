"""The progress of a TensorRT build."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ....common.interrupts import ENDING_SIGNALS


@contextmanager
def reported(trt: Any, config: Any, on_step: Callable[[str], None]) -> Iterator[None]:
    """Report a build's steps to ``on_step``; what it raises, or Ctrl-C, stops the build.

    It is raised when the library has returned. Signals that would raise an exception are noted
    meanwhile: in the midst of a callback the library would lose it.

    Args:
        trt: the library.
        config: the builder's configuration.
        on_step: called with the phase of every step.
    """
    config.progress_monitor = progress = engine_progress(trt, on_step)
    is_main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in ENDING_SIGNALS if is_main}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        progress.stop(KeyboardInterrupt())

    for number in handlers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for signalled in noted:  # also when the library has failed meanwhile
            handlers[signal.Signals(signalled)](signalled, None)
    progress.reraise()


def engine_progress(trt: Any, on_step: Callable[[str], None]) -> Any:
    """An ``IProgressMonitor`` that calls ``on_step`` with the phase of every step.

    What ``on_step`` raises, or what ``stop`` is given, stops the build; after it ``reraise`` raises
    it. Through TensorRT no exception may pass.
    """

    class EngineProgress(trt.IProgressMonitor):
        def __init__(self) -> None:
            super().__init__()
            self._stopped_by: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            pass

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            """False stops the build."""
            try:
                on_step(phase_name)
            except BaseException as stopped_by:
                self.stop(stopped_by)
            return self._stopped_by is None

        def stop(self, because: BaseException) -> None:
            self._stopped_by = because

        def reraise(self) -> None:
            if self._stopped_by is not None:
                raise self._stopped_by

    return EngineProgress()
