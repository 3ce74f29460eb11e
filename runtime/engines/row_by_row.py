"""Engines that take one waveform at a time, and those of some lengths only."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from ...errors import SessionError
from ..bundle.manifest import Artefact, Bundle
from .session import WAVEFORM, Arrays, Description, Session


class RowByRowSession(Session):
    """An artefact whose engine runs one row of a batch after the other.

    Args:
        bundle: the bundle the artefact belongs to.
        artefact: which one; its hashes are verified before it is loaded.

    Raises:
        BundleError: the artefact's bytes changed.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact) -> None:
        super().__init__(Description.of(bundle, artefact))
        bundle.verify(artefact)
        self._name, self._shapes = artefact.name, artefact.shapes
        self._in_use = Lock()  # an engine holds one run's values

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        waveform = np.ascontiguousarray(inputs[WAVEFORM])
        if self._shapes is not None and self._shapes.profile_of(waveform.shape) < 0:
            seconds = waveform.shape[1] / self.framing.sample_rate_hz
            raise SessionError(
                f"{self._name} takes {self._shapes.profiles[0].lengths}, not {seconds:g} s: cut "
                "the audio to that, or choose another artefact."
            )
        with self._in_use:
            rows = [self._row(waveform[row : row + 1]) for row in range(len(waveform))]
        columns = dict(zip(self.outputs, zip(*rows, strict=True), strict=True))
        return {name: np.concatenate(columns[name]) for name in outputs}

    @abstractmethod
    def _row(self, waveform: np.ndarray) -> Sequence[np.ndarray]:
        """All outputs in order, for (1, samples); they are the caller's to keep."""
