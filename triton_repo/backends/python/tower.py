"""A session whose engine is another model of the same server.

Only the server's Python can import this.
"""

from collections.abc import Mapping

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import ServerError
from muqrt.runtime.engines.session import Arrays, Session
from muqrt.triton_repo.backends.onnxruntime.model import Shared
from muqrt.triton_repo.backends.python.batched import cancelled, failure
from muqrt.triton_repo.client.connection import BusyError
from muqrt.triton_repo.contract.mulan import Tower

# Models that the previous version wrote import the refusals from here.
__all__ = ["TowerSession", "cancelled", "failure"]


class TowerSession(Session):
    """A session of a tower's model, which batches these requests with those of clients.

    ``run`` raises ServerError if the model fails, and BusyError if its queue is full.
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__(tower.contract.description)
        self._tower = tower
        self._memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)

    def close(self) -> None:
        """Do nothing: the server owns the model."""

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        rows, most = len(next(iter(inputs.values()))), self._tower.max_batch_size
        parts = [
            self._infer(
                {name: array[first : first + most] for name, array in inputs.items()}, outputs
            )
            for first in range(0, rows, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _infer(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        request = pb_utils.InferenceRequest(
            model_name=self._tower.model,
            requested_output_names=outputs,
            inputs=[
                pb_utils.Tensor.from_dlpack(name, Shared(np.ascontiguousarray(array)))
                for name, array in inputs.items()
            ],
            preferred_memory=self._memory,
        )
        response = request.exec()
        if response.has_error():
            failed = response.error()
            is_busy = failed.code() == pb_utils.TritonError.UNAVAILABLE
            kind = BusyError if is_busy else ServerError
            raise kind(f"{self._tower.model}: {failed.message()}")
        return {
            name: np.from_dlpack(pb_utils.get_output_tensor_by_name(response, name)).copy()
            for name in outputs
        }
