"""Run ONNX Runtime on buffers in GPU memory, optionally recorded as CUDA graphs."""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime as ort

from ..cuda.graph_cache import CudaGraphCache
from ..cuda.memory import DeviceArray
from ..device_name import DeviceName

Inputs = Mapping[str, np.ndarray | DeviceArray]

# Shapes whose buffers are kept. A recording stays until the engine is closed: ONNX Runtime frees
# none before.
_MOST_SHAPES = 16
_NOT_RECORDED = -1  # ONNX Runtime's graph number for a run of no recording; its own is 0


class BoundRuns:
    """Runs an engine between buffers on its device, one run at a time.

    Inputs of a shape that comes a second time get buffers of their own. These keep their addresses,
    which a recorded run needs: ONNX Runtime records the third run, and launches it at once later.

    Args:
        engine: an ``InferenceSession``.
        memory: where its inputs and outputs are: "cuda" and which GPU.
        cuda_graphs: whether runs are recorded; the engine was made so.
    """

    def __init__(self, engine: Any, memory: DeviceName, cuda_graphs: bool) -> None:
        self._engine, self._memory = engine, memory
        self._graphs_left = _MOST_SHAPES if cuda_graphs else 0
        self._slots = CudaGraphCache[_Slot](_MOST_SHAPES)
        self._in_use = Lock()

    def run(self, outputs: Sequence[str], inputs: Inputs) -> list[np.ndarray]:
        """Run like ``InferenceSession.run``, with inputs on the host or on the GPU.

        Inputs must be contiguous. The outputs are copies, which the caller may keep.
        """
        places = [(name, x.shape, getattr(x, "address", None)) for name, x in inputs.items()]
        key = (*places, *outputs)
        with self._in_use:
            slot = self._slots.get(key)
            if slot is None:
                slot = _Slot(self._engine, self._memory, inputs, outputs)
                if self._slots.ran_before(key):
                    slot.graph = self._next_graph()
                    self._slots.put(key, slot)
            else:
                slot.run(inputs)
            return slot.read()

    def _next_graph(self) -> int:
        if not self._graphs_left:
            return _NOT_RECORDED
        self._graphs_left -= 1
        return _MOST_SHAPES - self._graphs_left


class _Slot:
    """Buffers for inputs of one shape, already run once; then those of the outputs are there, too.

    An input that is on the GPU is read where it is.

    Attributes:
        graph: number of the recording that a run is, or makes.
    """

    def __init__(
        self, engine: Any, memory: DeviceName, inputs: Inputs, outputs: Sequence[str]
    ) -> None:
        self._engine, self._binding = engine, engine.io_binding()
        self._buffers: dict[str, Any] = {}
        self.graph = _NOT_RECORDED
        place = memory.kind, memory.index
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                facts = array.dtype.type, array.shape, array.address
                self._binding.bind_input(name, *place, *facts)
                continue
            buffer = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, *place)
            self._binding.bind_ortvalue_input(name, buffer)
            self._buffers[name] = buffer
        for name in outputs:
            self._binding.bind_output(name, *place)
        self.run(inputs)
        self._outputs = self._binding.get_outputs()
        for name, buffer in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, buffer)

    def run(self, inputs: Inputs) -> None:
        for name, buffer in self._buffers.items():
            buffer.update_inplace(inputs[name])
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(self.graph))
        # For everything that the GPU has to do, the owner's of an input on it included.
        self._binding.synchronize_inputs()
        self._engine.run_with_iobinding(self._binding, options)

    def read(self) -> list[np.ndarray]:
        """The outputs of the last run; on the CPU, too, they are no longer the buffers."""
        return [np.array(buffer.numpy()) for buffer in self._outputs]
