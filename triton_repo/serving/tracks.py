"""Encoded files for many clients: decoded here, their windows run by another model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...errors import AudioError, MuqrtError
from ...runtime.bundle.tagging import TAGS
from ...runtime.engines.session import Session
from ...runtime.inference.results import EMBEDDING
from ...runtime.inference.windows import Window
from ...runtime.model import Model
from ..contract.limits import Limits


@dataclass(frozen=True, eq=False)
class File:
    """A client's file.

    Attributes:
        data: its bytes, uint8 (bytes,).
        wanted: of tags and embedding.
    """

    data: np.ndarray
    wanted: Sequence[str]


class TrackService:
    """Tags and embeds files.

    Args:
        session: runs windows.
        batch_size: how many at once.
        limits: the largest file; the defaults when left out.
    """

    def __init__(self, session: Session, batch_size: int, limits: Limits | None = None) -> None:
        self._model = Model(session, batch_size=batch_size)
        self._limits = limits or Limits()

    def answer(self, files: Sequence[File]) -> list[dict[str, np.ndarray] | MuqrtError]:
        """For each file its outputs by name: ``tags`` float32 (tags,), those of the whole track,
        and ``embedding`` float32 (width,); or what is wrong, without effect on the others."""
        return [self._answer(file) for file in files]

    def _answer(self, file: File) -> dict[str, np.ndarray] | MuqrtError:
        most = self._limits.max_file_bytes
        if file.data.size > most:
            return AudioError(
                f"a file of {file.data.size} bytes; there may be {most} "
                "(limits.max_file_bytes of muqrt repository)."
            )
        outputs: dict[str, Callable[[Path], np.ndarray]] = {
            TAGS: lambda path: self._model.tag(path, on_window=self._watch).scores,
            EMBEDDING: lambda path: self._model.embed(path, on_window=self._watch),
        }
        with TemporaryDirectory(prefix="muqrt-track-") as folder:
            path = Path(folder) / "audio"
            file.data.tofile(path)
            try:
                return {name: outputs[name](path) for name in file.wanted}
            except MuqrtError as error:
                return type(error)(str(error).replace(str(path), "audio"))

    def _watch(self, window: Window) -> None:
        most = self._limits.max_track_seconds
        if window.keep.stop > most * self._model.framing.steps_per_second + 1:
            raise AudioError(
                f"audio: longer than {most:g} s (limits.max_track_seconds of muqrt repository)."
            )
