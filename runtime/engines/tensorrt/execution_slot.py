"""Run a TensorRT engine, one input at a time: its contexts, memory, stream and recorded runs."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ....errors import SessionError
from ..cuda.device import CudaDevice, Recording
from ..cuda.graph_cache import CudaGraphCache
from ..cuda.memory import DeviceArray, Memory
from ..session import WAVEFORM, Arrays
from .engine import LoadedEngine

# Each takes some MB of the GPU's.
_RECORDINGS = 16
# What TensorRT asks of a tensor's address.
_ALIGNMENT_BYTES = 256
Shapes = dict[str, tuple[int, ...]]


class _Run(NamedTuple):
    """A recorded run and the shapes of its outputs."""

    recording: Recording
    shapes: Shapes


class ExecutionSlot:
    """Runs an engine, one input at a time.

    Buffers keep their addresses unless a larger input comes, so that runs can be recorded: the
    second run of a shape is recorded, and each later one is a single launch.

    Args:
        engine: to run.
        device: where it was loaded.
        cuda_graphs: whether runs are recorded.
    """

    def __init__(self, engine: LoadedEngine, device: CudaDevice, cuda_graphs: bool) -> None:
        self._engine, self._device, self._cuda_graphs = engine, device, cuda_graphs
        self.stream = device.stream()
        self._contexts: dict[int, Any] = {}
        self._input, self._pinned_input = device.memory(), device.pinned_memory()
        names = self._engine.output_types
        self._outputs = {name: device.memory() for name in names}
        self._pinned = {name: device.pinned_memory() for name in names}
        self._recordings = CudaGraphCache[_Run](
            _RECORDINGS, lambda run: device.forget(run.recording)
        )

    def run(self, waveform: np.ndarray | DeviceArray, outputs: Sequence[str]) -> Arrays:
        """Run the engine on one waveform; the outputs are the caller's to keep."""
        profile = self._engine.profile_of(waveform.shape)
        self._device.use()
        # The copy to the GPU, the run and the copy back are queued, and then waited for.
        address = self._on_device(waveform)
        shapes = self._queue(profile, address, tuple(waveform.shape))
        for name in outputs:
            memory, pinned = self._outputs[name], self._pinned[name]
            size_bytes = self._size_bytes(name, shapes)
            pinned.reserve(size_bytes)
            self._device.copy(memory.address, pinned.address, size_bytes, self.stream)
        self._device.wait(self.stream)
        types = self._engine.output_types
        return {name: self._pinned[name].view(shapes[name], types[name]).copy() for name in outputs}

    def close(self) -> None:
        """Free everything, once the queued work is done."""
        self._device.use()
        self._device.wait(self.stream)
        self._recordings.clear()
        self._contexts.clear()
        for memory in (*self._outputs.values(), *self._pinned.values()):
            memory.free()
        self._input.free()
        self._pinned_input.free()
        self._device.end(self.stream)

    def _on_device(self, waveform: np.ndarray | DeviceArray) -> int:
        """The address in GPU memory where the engine reads the waveform."""
        if isinstance(waveform, DeviceArray):
            if waveform.address % _ALIGNMENT_BYTES == 0:
                return waveform.address
            address = waveform.address
        else:
            self._pinned_input.reserve(waveform.nbytes)
            self._pinned_input.view(waveform.shape, waveform.dtype)[...] = waveform
            address = self._pinned_input.address
        self._reserve(self._input, waveform.nbytes)
        self._device.copy(address, self._input.address, waveform.nbytes, self.stream)
        return self._input.address

    def _queue(self, profile: int, address: int, shape: tuple[int, ...]) -> Shapes:
        """Queue the engine's run; returns the shapes of its outputs."""
        key = (profile, address, shape)
        if (known := self._recordings.get(key)) is not None:
            self._device.launch(known.recording, self.stream)
            return known.shapes
        if profile not in self._contexts:
            self._contexts[profile] = self._engine.context(profile, self.stream)
        context = self._contexts[profile]
        shapes = self._bind(context, address, shape)
        if not self._cuda_graphs or not self._recordings.ran_before(key):
            self._enqueue(context)
            return shapes
        recording = self._device.record(self.stream, lambda: self._enqueue(context))
        self._recordings.put(key, _Run(recording, shapes))
        self._device.launch(recording, self.stream)
        return shapes

    def _bind(self, context: Any, address: int, shape: tuple[int, ...]) -> Shapes:
        """Give a context its addresses; returns the shapes of the outputs."""
        taken = context.set_input_shape(WAVEFORM, shape)
        if not taken or not context.set_tensor_address(WAVEFORM, address):
            raise SessionError(f"TensorRT refused {WAVEFORM}: {self._engine.complaint()}")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        for name, memory in self._outputs.items():
            self._reserve(memory, self._size_bytes(name, shapes))
            context.set_tensor_address(name, memory.address)
        return shapes

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(int(self.stream)):
            raise SessionError(f"TensorRT failed: {self._engine.complaint()}")

    def _reserve(self, memory: Memory, size_bytes: int) -> None:
        if size_bytes > memory.size_bytes:
            self._recordings.clear()  # they use the old place
            memory.reserve(size_bytes)

    def _size_bytes(self, name: str, shapes: Shapes) -> int:
        return prod(shapes[name]) * self._engine.output_types[name].itemsize
