"""Artefacts run by TensorRT on a GPU, without torch."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from ....errors import SessionError
from ...bundle.manifest import Artefact, Bundle
from ...bundle.tensorrt_plan import TensorRTPlan
from ..cuda.device import CudaDevice
from ..cuda.memory import reachable
from ..session import WAVEFORM, Arrays, Description, Session
from .engine import TensorRtEngine
from .execution_slot import ExecutionSlot
from .library import tensorrt_version


class EngineSession(Session):
    """An engine of TensorRT or TensorRT for RTX on one GPU.

    Inputs may be NumPy arrays, or DLPack arrays on the session's GPU, which are not copied. Outputs
    are NumPy arrays.

    Args:
        described: what it states about its model.
        device: the GPU.
        slot: runs the engine there.
    """

    def __init__(self, described: Description, device: CudaDevice, slot: ExecutionSlot) -> None:
        super().__init__(described)
        self._device = device
        self._slot: ExecutionSlot | None = slot
        self._in_use = Lock()

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the engine on checked inputs, which may also be arrays in the GPU's memory."""
        with self._in_use:
            stream = int(self._open_slot().stream)
            return super().run(reachable(inputs, self._device.index, stream), outputs)

    def _run(self, inputs: Mapping[str, Any], outputs: list[str]) -> Arrays:
        return self._open_slot().run(inputs[WAVEFORM], outputs)

    def _open_slot(self) -> ExecutionSlot:
        if self._slot is None:
            raise SessionError("the session is closed; load the bundle again.")
        return self._slot

    def close(self) -> None:
        """Free the engine and its memory."""
        with self._in_use:
            if self._slot is not None:
                self._slot.close()
            self._slot = None


class TensorRtSession(EngineSession):
    """A TensorRT plan on one GPU.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hash is verified before TensorRT sees it.
        device: the GPU's index.
        cuda_graphs: record the run of each shape and launch it as one, which spares the CPU some
            hundred launches.
        weight_budget_bytes: how much of the weights stays on the GPU, for a plan with weight
            streaming; TensorRT's own choice for the free memory when None.

    Raises:
        BundleError: the plan is truncated or changed. MissingDependencyError: TensorRT or
            cuda-bindings is not installed. SessionError: no such GPU, or the plan is for another
            TensorRT or another kind of GPU, or not for weight streaming where a budget is given.
    """

    def __init__(
        self,
        bundle: Bundle,
        artefact: Artefact,
        device: int = 0,
        cuda_graphs: bool = True,
        weight_budget_bytes: int | None = None,
    ) -> None:
        plan = artefact.plan
        if not isinstance(plan, TensorRTPlan) or plan.options is None:
            raise SessionError(
                f"{artefact.name}: the manifest does not say for which shapes its engine is. "
                "Build it again with: muqrt build --engine tensorrt"
            )
        if weight_budget_bytes is not None and not plan.options.weight_streaming:
            raise SessionError(
                f"{artefact.name}: its weights are all on the GPU, and no budget of them can be "
                "given. Build it again with: muqrt build --engine tensorrt --weight-streaming"
            )
        version = tensorrt_version()
        gpu = CudaDevice(device)
        plan.require(version, gpu.compute_capability)
        bundle.verify(artefact)
        engine = TensorRtEngine(
            bundle.path(artefact.file),
            plan.options,
            artefact.inputs,
            artefact.outputs,
            bundle.path(plan.weights) if plan.weights is not None else None,
            weight_budget_bytes,
        )
        slot = ExecutionSlot(engine, gpu, cuda_graphs)
        super().__init__(Description.of(bundle, artefact), gpu, slot)
