"""Artefacts run by TensorRT on a GPU, without torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

from ....errors import SessionError
from ...bundle.manifest import Artefact, Bundle
from ..cuda.device import CudaDevice
from ..cuda.memory import reachable
from ..session import WAVEFORM, Arrays, Description, Session
from .engine import TensorRtEngine
from .execution_slot import ExecutionSlot
from .library import tensorrt_version


class TensorRtSession(Session):
    """A TensorRT plan on one GPU.

    Inputs may be NumPy's arrays, or, without a copy, any library's arrays on the session's GPU that
    speak DLPack. Outputs are NumPy's.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hash is verified before TensorRT sees it.
        device: the GPU's index.
        cuda_graphs: record the run of each shape and launch it as one, which spares the CPU some
            hundred launches.
        weight_budget_bytes: of a plan for weight streaming, how much of the weights stays on the
            GPU; what TensorRT thinks right for the memory that is free, when None.

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
        super().__init__(Description.of(bundle, artefact))
        plan = artefact.plan
        if plan is None or plan.options is None:
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
        self._device = CudaDevice(device)
        plan.require(version, self._device.compute_capability)
        bundle.verify(artefact)
        self._cuda_graphs = cuda_graphs
        self._engine: TensorRtEngine | None = TensorRtEngine(
            bundle.path(artefact.file),
            plan.options,
            artefact.inputs,
            artefact.outputs,
            bundle.path(plan.weights) if plan.weights is not None else None,
            weight_budget_bytes,
        )
        self._lane: ExecutionSlot | None = ExecutionSlot(self._engine, self._device, cuda_graphs)
        self._in_use = Lock()

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> Arrays:
        """As every session's, but an input may also be an array in the GPU's memory."""
        with self._in_use:
            return super().run(self._reachable(inputs, self._open_lane()), outputs)

    def run_many(
        self, batches: Iterable[Mapping[str, Any]], outputs: Sequence[str] | None = None
    ) -> Iterator[Arrays]:
        """``run`` for each, in order; while one runs, the next is taken and copied to the GPU.

        Two runs' memory is taken until it ends, besides ``run``'s.
        """
        self._open_lane()
        assert self._engine is not None
        wanted = list(self.outputs) if outputs is None else list(outputs)
        lanes = [ExecutionSlot(self._engine, self._device, self._cuda_graphs) for _ in range(2)]
        busy: ExecutionSlot | None = None
        try:
            for number, inputs in enumerate(batches):
                lane = lanes[number % 2]
                reachable = self._reachable(inputs, lane)
                self._check(reachable, wanted)
                lane.start(reachable[WAVEFORM], wanted)
                if busy is not None:
                    yield busy.finish()
                busy = lane
            if busy is not None:
                yield busy.finish()
        finally:
            for lane in lanes:
                lane.close()

    def _run(self, inputs: Mapping[str, Any], outputs: list[str]) -> Arrays:
        lane = self._open_lane()
        lane.start(inputs[WAVEFORM], outputs)
        return lane.finish()

    def _open_lane(self) -> ExecutionSlot:
        if self._lane is None:
            raise SessionError("the session is closed; load the bundle again.")
        return self._lane

    def _reachable(self, inputs: Mapping[str, Any], lane: ExecutionSlot) -> dict[str, Any]:
        """The inputs as NumPy's arrays or, where they lie on the GPU, as arrays there."""
        return reachable(inputs, self._device.index, int(lane.stream))

    def close(self) -> None:
        """Free the engine and its memory."""
        with self._in_use:
            if self._lane is not None:
                self._lane.close()
            self._lane = self._engine = None
