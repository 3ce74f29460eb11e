"""Artefacts run by TensorRT for RTX on a GPU, without torch."""

from collections.abc import Mapping
from typing import Any

from ....errors import SessionError
from ...bundle.manifest import Artefact, Bundle
from ...bundle.tensorrt_plan import RtxPlan
from ..cuda.device import CudaDevice
from ..session import WAVEFORM, Arrays, Description
from ..tensorrt.execution_slot import ExecutionSlot
from ..tensorrt.library import library_version, tensorrt_rtx
from ..tensorrt.session import EngineSession
from .cache import RuntimeCacheFile
from .engine import RtxEngine, Specialization, require_valid

# Shapes after whose first run the cache is written.
_MOST_SHAPES = 64


class RtxSession(EngineSession):
    """An engine of TensorRT for RTX on one GPU.

    Its first start on a GPU compiles kernels there, and keeps them in the user's cache folder.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hash is verified before the library sees it.
        device: the GPU's index.
        cuda_graphs: let the library record runs as CUDA graphs.
        specialization: when kernels are compiled for the exact shapes that run: "lazy", in the
            background; "eager", before the first answer; "none", never.

    Raises:
        BundleError: the engine is truncated or changed. MissingDependencyError: TensorRT for RTX or
            cuda-bindings is not installed. SessionError: the engine is for another version of the
            library or another kind of GPU, or there is no GPU.
    """

    def __init__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        device: int = 0,
        cuda_graphs: bool = True,
        specialization: Specialization = "lazy",
    ) -> None:
        plan = artefact.plan
        if not isinstance(plan, RtxPlan):
            raise SessionError(f"{artefact.name}: not an engine of TensorRT for RTX.")
        trt = tensorrt_rtx()
        version = library_version(trt)
        plan.require_version(version)
        bundle.verify(artefact)
        gpu = CudaDevice(device)
        plan.require_gpu(gpu.name, gpu.compute_capability)
        path = bundle.path(artefact.file)
        require_valid(trt, path)
        cache = RuntimeCacheFile(artefact.files[artefact.file], version, gpu)
        tensors = artefact.inputs, artefact.outputs
        self._engine = RtxEngine(
            trt, path, plan.options, *tensors, cache, specialization, cuda_graphs
        )
        # The library records runs itself.
        slot = ExecutionSlot(self._engine, gpu, cuda_graphs=False)
        super().__init__(Description.of(bundle, artefact), gpu, slot)
        self._shapes: set[tuple[int, ...]] = set()

    def _run(self, inputs: Mapping[str, Any], outputs: list[str]) -> Arrays:
        answer = super()._run(inputs, outputs)
        shape = tuple(inputs[WAVEFORM].shape)
        if shape not in self._shapes and len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
            self._engine.keep_cache()
        return answer

    def close(self) -> None:
        """Keep what was compiled in the background, and free the engine and its memory."""
        with self._in_use:
            if self._slot is not None:
                self._engine.keep_cache()
        super().close()
