"""An engine of TensorRT for RTX in a GPU's memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ....errors import SessionError, UsageError
from ...bundle.engine_options import Shaped
from ...bundle.record import TensorSpec
from ..tensorrt.engine import LoadedEngine
from ..tensorrt.library import full_name, message_log
from .cache import RuntimeCacheFile

# When kernels are compiled for the exact shapes that run: in the background while a general one
# answers, before the first answer, or never.
Specialization = Literal["lazy", "eager", "none"]

_REASONS = {
    "VERSION_MISMATCH": "it is for another version of the library; build it again",
    "UNSUPPORTED_CC": "it is not for this GPU; build it again with its --targets",
    "OLD_CUDA_DRIVER": "the driver is too old; update it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old; update it",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory; build it for smaller batches",
    "MALFORMED_ENGINE": "it is damaged; copy or build it again",
    "CUDA_ERROR": "the GPU cannot be used; nvidia-smi says why",
}


def require_valid(trt: Any, path: Path) -> None:
    """Raise SessionError for a file that the library says it cannot run here.

    Loading such a file would end the process.
    """
    log = message_log(trt)
    log.clear()  # of what other engines caused
    content = path.read_bytes()
    validity, diagnostics = trt.Runtime(log).get_engine_validity(content)
    if validity != trt.EngineValidity.INVALID:
        return
    flags = trt.EngineInvalidityDiagnostics.__members__.items()
    found = [_REASONS.get(name, name) for name, flag in flags if int(diagnostics) & int(flag)]
    reason = "; ".join(found) or log.complaint().removesuffix(".")
    raise SessionError(f"{path}: {full_name(trt)} cannot run it: {reason}.")


class RtxEngine(LoadedEngine):
    """An engine that is finished on this GPU, where its cache does not have that already.

    Args:
        trt, path, options, inputs, outputs: as for ``LoadedEngine``.
        cache: where compiled kernels are kept.
        specialization: when kernels are compiled for the exact shapes that run.
        cuda_graphs: whether the library records runs as CUDA graphs, for every shape by itself.
    """

    def __init__(
        self,
        trt: Any,
        path: Path,
        options: Shaped,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        cache: RuntimeCacheFile,
        specialization: Specialization = "lazy",
        cuda_graphs: bool = True,
    ) -> None:
        if specialization not in get_args(Specialization):
            raise UsageError(
                f"specialization {specialization!r}: choose among "
                f"{', '.join(get_args(Specialization))}."
            )
        super().__init__(trt, path, options, inputs, outputs)
        self._file = cache
        self._config = runtime_config(trt, self._engine, specialization, cuda_graphs)
        self._cache = self._config.create_runtime_cache()
        if kept := cache.read():
            # Refused where it does not fit; then everything is compiled again.
            self._cache.deserialize(kept)
        self._config.set_runtime_cache(self._cache)

    def _new_context(self) -> Any:
        return self._engine.create_execution_context(self._config)

    def keep_cache(self) -> None:
        """Write what has been compiled by now to the cache's file."""
        if (content := self._cache.serialize()) is not None:
            self._file.write(bytes(content))


def runtime_config(trt: Any, engine: Any, specialization: Specialization, cuda_graphs: bool) -> Any:
    """An ``IRuntimeConfig`` with these options."""
    config = engine.create_runtime_config()
    kinds = trt.DynamicShapesKernelSpecializationStrategy.__members__
    config.dynamic_shapes_kernel_specialization_strategy = kinds[specialization.upper()]
    strategies = trt.CudaGraphStrategy
    config.cuda_graph_strategy = (
        strategies.WHOLE_GRAPH_CAPTURE if cuda_graphs else strategies.DISABLED
    )
    return config
