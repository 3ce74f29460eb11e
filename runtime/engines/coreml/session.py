"""Artefacts for Core ML, interpreted so that they can be proven: no such file runs here."""

from collections.abc import Sequence

import numpy as np

from ....common.environment import installed
from ....errors import SessionError
from ...bundle.engine_options import NEVER_RUN
from ...bundle.manifest import Artefact, Bundle
from ..row_by_row import RowByRowSession
from ..session import WAVEFORM
from .program import SavedProgram


class CoreMlInterpretation(RowByRowSession):
    """An artefact for Core ML, its saved program interpreted; far slower than an engine.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.

    Raises:
        BundleError: the artefact's bytes changed. SessionError: it cannot be interpreted.
        MissingDependencyError: coremltools is not installed.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact) -> None:
        super().__init__(bundle, artefact)
        package = bundle.path(artefact.file).parent
        self._program: SavedProgram | None = SavedProgram(package)
        if ([WAVEFORM], {*self.outputs}) != (self._program.inputs, {*self._program.outputs}):
            raise SessionError(f"{package}: not a program with these inputs and outputs.")
        self.provenance = {
            "coremltools": installed("coremltools") or "not installed",
            "interpreted": "the saved program, each operation's result rounded to its type; "
            f"{NEVER_RUN}",
        }

    def _row(self, waveform: np.ndarray) -> Sequence[np.ndarray]:
        if self._program is None:
            raise SessionError("the session is closed; load the bundle again.")
        found = self._program.run({WAVEFORM: waveform})
        return [found[name] for name in self.outputs]

    def close(self) -> None:
        """Free the program."""
        self._program = None
