"""Artefacts run by ExecuTorch on the CPU, as on a phone. Its Python package needs torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....common.environment import import_extra
from ....errors import SessionError
from ...bundle.manifest import Artefact, Bundle
from ..cpus import given_cpus
from ..row_by_row import RowByRowSession


class ExecuTorchSession(RowByRowSession):
    """An artefact for ExecuTorch.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.
        threads: as many as this process was given when None. ExecuTorch has one number for the
            whole process, which the session that is opened last sets.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: ExecuTorch refused the file.
        MissingDependencyError: ExecuTorch is not installed.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int | None = None) -> None:
        module = import_extra("executorch", "executorch.extension.pybindings.portable_lib", "torch")
        super().__init__(bundle, artefact)
        if (threads := threads or given_cpus()) is not None:
            module._unsafe_reset_threadpool(threads)
        path = bundle.path(artefact.file)
        try:
            self._method: Any = module._load_for_executorch(str(path))
        except RuntimeError as error:
            raise SessionError(f"{path}: ExecuTorch cannot load it: {error}") from error

    def _row(self, waveform: np.ndarray) -> Sequence[np.ndarray]:
        import torch

        if self._method is None:
            raise SessionError("the session is closed; load the bundle again.")
        try:
            found = self._method.run_method("forward", [torch.from_numpy(waveform)])
        except RuntimeError as error:
            raise SessionError(f"ExecuTorch failed: {error}") from error
        return [each.numpy().copy() for each in found]

    def close(self) -> None:
        """Free the program and its memory."""
        self._method = None
