"""The progress of a TensorRT build."""

from collections.abc import Callable
from typing import Any


def engine_progress(trt: Any, on_step: Callable[[str], None]) -> Any:
    """An ``IProgressMonitor`` that calls ``on_step`` with the phase of every step.

    What ``on_step`` raises, or Ctrl-C, stops the build; after it ``reraise`` raises it. Through
    TensorRT no exception may pass.
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
                self._stopped_by = stopped_by
            return self._stopped_by is None

        def reraise(self) -> None:
            if self._stopped_by is not None:
                raise self._stopped_by

    return EngineProgress()
