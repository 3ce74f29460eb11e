"""A TensorRT plan in a GPU's memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import SessionError
from ...bundle.engine_options import EngineOptions, Shaped
from ...bundle.record import TensorSpec
from ..cuda.device import Stream
from ..session import WAVEFORM
from .library import message_log, tensorrt
from .weights import put_back_weights, stream_weights

_ROOM = "If it is memory: end what else uses the GPU, or build the engine for smaller batches."


class LoadedEngine:
    """The engine in a file of TensorRT or TensorRT for RTX, which have one API.

    Args:
        trt: the library.
        path: the file, known to be whole and for this library and GPU.
        options: it was built with.
        inputs, outputs: what it takes and gives.
        host_code: whether code that the file brings along may run. Its hash is the manifest's.
    """

    def __init__(
        self,
        trt: Any,
        path: Path,
        options: Shaped,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        host_code: bool = False,
    ) -> None:
        self._trt, self.options = trt, options
        self.output_types = {spec.name: np.dtype(spec.dtype) for spec in outputs}
        self._log = message_log(trt)
        self._runtime = runtime = trt.Runtime(self._log)
        runtime.engine_host_code_allowed = host_code
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise SessionError(f"{path}: TensorRT cannot load it: {self.complaint()} {_ROOM}")
        self._engine = engine
        self._require(path, [*inputs, *outputs])

    def context(self, profile: int, stream: Stream) -> Any:
        """A new execution context for a profile, with memory of its own."""
        context = self._new_context()
        if context is None or not context.set_optimization_profile_async(profile, int(stream)):
            raise SessionError(f"TensorRT cannot prepare a run: {self.complaint()} {_ROOM}")
        return context

    def _new_context(self) -> Any:
        return self._engine.create_execution_context()

    def profile_of(self, waveform: Sequence[int]) -> int:
        """Which profile to run a waveform of this shape in."""
        profile = self.options.profile_of(tuple(waveform))
        if profile < 0:
            covered = "; ".join(map(str, self.options.profiles))
            raise SessionError(
                f"{WAVEFORM} has shape {tuple(waveform)}; this engine was built for {covered}. "
                "Choose the window and the batch size so, or build an engine for this shape."
            )
        return profile

    def complaint(self) -> str:
        """TensorRT's last error message."""
        text: str = self._log.complaint()
        return text

    def _require(self, path: Path, specs: Sequence[TensorSpec]) -> None:
        """Raise SessionError unless the engine has the manifest's tensors and profiles."""
        trt, engine = self._trt, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        found = {name: trt.nptype(engine.get_tensor_dtype(name)) for name in names}
        if found != {spec.name: np.dtype(spec.dtype) for spec in specs}:
            raise SessionError(
                f"{path}: the engine's tensors are {', '.join(names)}, not what the manifest says. "
                "Build it again."
            )
        profiles = [
            tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(WAVEFORM, i))
            for i in range(engine.num_optimization_profiles)
        ]
        if profiles != [each.waveforms for each in self.options.profiles]:
            raise SessionError(
                f"{path}: the engine is for other shapes than the manifest says. Build it again."
            )


class TensorRtEngine(LoadedEngine):
    """The engine in a TensorRT plan.

    Args:
        path, options, inputs, outputs: as for ``LoadedEngine``.
        weights: for a stripped plan, the ONNX graph with its weights.
        weight_budget_bytes: how much of the weights stays on the GPU, for a plan with weight
            streaming; TensorRT's own choice for the free memory when None.
    """

    def __init__(
        self,
        path: Path,
        options: EngineOptions,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        weights: Path | None = None,
        weight_budget_bytes: int | None = None,
    ) -> None:
        # A version compatible plan brings code along.
        super().__init__(tensorrt(), path, options, inputs, outputs, options.version_compatible)
        if weights is not None:
            put_back_weights(self._engine, weights, self._log)
        if options.weight_streaming:
            stream_weights(self._engine, weight_budget_bytes)
