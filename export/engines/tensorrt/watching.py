"""Progress of a TensorRT build, and the layers of a built engine."""

from collections.abc import Callable
from typing import Any

from ....errors import BuildError
from ....runtime.engines.tensorrt.library import message_log, tensorrt


def engine_progress(on_step: Callable[[str], None]) -> Any:
    """An ``IProgressMonitor`` that calls ``on_step`` with the phase of every step.

    What ``on_step`` raises, or Ctrl-C, stops the build; after it ``reraise`` raises it. Through
    TensorRT no exception may pass.
    """
    trt = tensorrt()

    class EngineProgress(trt.IProgressMonitor):  # type: ignore[name-defined]
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


def engine_layers(plan: bytes, version_compatible: bool) -> str:
    """Describe every layer of an engine as JSON, from TensorRT's inspector: with names, kernels,
    dtypes and shapes where the engine was built with ``EngineOptions.inspect``.

    Raises:
        BuildError: the plan cannot be loaded.
    """
    trt = tensorrt()
    log = message_log()
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = version_compatible
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"the new engine cannot be loaded: {'; '.join(log.errors)}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
