"""Encoded files for many clients: decoded here, their windows run by another model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...errors import AudioError, MuqrtError
from ...runtime.audio.tracks import Audio, one_track
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
        rate_hz, watch = self._model.framing.sample_rate_hz, self._watch
        outputs: dict[str, Callable[[Audio], np.ndarray]] = {
            TAGS: lambda audio: self._model.tag(audio, rate_hz, on_window=watch).scores,
            EMBEDDING: lambda audio: self._model.embed(audio, rate_hz, watch),
        }
        with TemporaryDirectory(prefix="muqrt-track-") as folder:
            path = Path(folder) / "audio"
            file.data.tofile(path)
            try:
                audio = self._decoded(path) if len(file.wanted) > 1 else path
                return {name: outputs[name](audio) for name in file.wanted}
            except MuqrtError as error:
                return type(error)(str(error).replace(str(path), "audio"))

    def _decoded(self, path: Path) -> np.ndarray:
        """A file's samples, on the disk: decoding twice would cost more than reading them twice."""
        rate_hz, samples = self._model.framing.sample_rate_hz, 0
        decoded = path.with_name("samples")
        with decoded.open("wb") as file:
            for block in one_track(path).blocks(rate_hz):
                samples += len(block)
                if samples > self._limits.max_track_seconds * rate_hz:
                    raise self._too_long()
                block.tofile(file)
        if not samples:
            return np.zeros(0, np.float32)
        return np.memmap(decoded, np.float32, "r")

    def _watch(self, window: Window) -> None:
        steps_per_second = self._model.framing.steps_per_second
        if window.keep.stop > self._limits.max_track_seconds * steps_per_second + 1:
            raise self._too_long()

    def _too_long(self) -> AudioError:
        most = self._limits.max_track_seconds
        return AudioError(
            f"audio: longer than {most:g} s (limits.max_track_seconds of muqrt repository)."
        )
