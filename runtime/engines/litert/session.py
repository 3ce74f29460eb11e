"""Artefacts run by LiteRT on the CPU, as on a phone. No torch: the package ai-edge-litert alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....common.environment import import_extra
from ....errors import SessionError
from ...bundle.manifest import Artefact, Bundle
from ..cpus import given_cpus
from ..row_by_row import RowByRowSession


class LiteRtSession(RowByRowSession):
    """An artefact for LiteRT.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.
        threads: as many as this process was given, or one, when None.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: LiteRT refused the file.
        MissingDependencyError: LiteRT is not installed.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int | None = None) -> None:
        module = import_extra("litert", "ai_edge_litert.interpreter")
        super().__init__(bundle, artefact)
        path = bundle.path(artefact.file)
        try:
            interpreter = module.Interpreter(
                model_path=str(path), num_threads=threads or given_cpus() or 1
            )
            self._runner: Any = interpreter.get_signature_runner()
        except (RuntimeError, ValueError) as error:
            raise SessionError(f"{path}: LiteRT cannot load it: {error}") from error
        (self._input,) = self._runner.get_input_details()

    def _row(self, waveform: np.ndarray) -> Sequence[np.ndarray]:
        if self._runner is None:
            raise SessionError("the session is closed; load the bundle again.")
        try:
            found = self._runner(**{self._input: waveform})
        except (RuntimeError, ValueError) as error:
            raise SessionError(f"LiteRT failed: {error}") from error
        return [found[f"output_{index}"] for index in range(len(found))]

    def close(self) -> None:
        """Free the model and its memory."""
        self._runner = None
