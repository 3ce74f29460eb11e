"""``track``: encoded files.

Only translates: requests to files, answers to outputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, UsageError
from muqrt.triton_repo.backends.python.batched import BatchedModel
from muqrt.triton_repo.backends.python.tower import TowerSession
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.contract.mulan import tower_in
from muqrt.triton_repo.contract.track import AUDIO, TRACK_MODEL
from muqrt.triton_repo.serving.tracks import File, TrackService


class TrackModel(BatchedModel[File, dict[str, np.ndarray]]):
    """Answers files with another model of the server's."""

    def _load(self, folder: Path, parameters: Mapping[str, str]) -> None:
        model, limits = tower_in(parameters, TRACK_MODEL), Limits.from_parameters(parameters)
        self._service = TrackService(TowerSession(model), model.max_batch_size, limits)

    def _read(self, request: Any) -> File:
        rows = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, AUDIO))
        if len(rows) != 1:
            raise UsageError(f"{len(rows)} files; send each in its own request.")
        return File(rows[0], list(request.requested_output_names()))

    def _answer(self, asked: list[File]) -> list[dict[str, np.ndarray] | MuqrtError]:
        return self._service.answer(asked)

    def _outputs(self, found: dict[str, np.ndarray], request: Any) -> dict[str, np.ndarray]:
        return found
