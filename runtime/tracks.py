"""What a user may hand over as audio: a file's path, or samples with their rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import UsageError
from . import audio

AudioFile = str | PathLike[str]
Audio = AudioFile | np.ndarray
# Lists are invariant to a type checker, hence one of each kind.
Audios = list[Audio] | list[str] | list[Path] | list[np.ndarray] | tuple[Audio, ...]


@dataclass(frozen=True, eq=False)
class Track:
    """A file's path, or samples in memory with their ``rate_hz``.

    Attributes:
        name: what errors call it.
    """

    source: Audio
    rate_hz: int | None
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.source, (str, PathLike, np.ndarray)):
            raise UsageError(
                f"{self.name}: a {type(self.source).__name__}; pass a file's path or a numpy array."
            )
        if isinstance(self.source, np.ndarray) and self.rate_hz is None:
            raise UsageError(f"{self.name}: samples without their rate; pass rate_hz=...")

    def blocks(self, rate_hz: int) -> Iterator[np.ndarray]:
        """The samples as mono float32 blocks at ``rate_hz``; raises AudioError while read."""
        if not isinstance(self.source, np.ndarray):
            yield from audio.stream(self.source, rate_hz)
        elif self.rate_hz is not None:
            yield audio.from_array(self.source, self.rate_hz, rate_hz, self.name)


def one_track(x: Audio, rate_hz: int | None = None, name: str = "audio array") -> Track:
    """``x`` as a track; ``rate_hz`` and ``name`` are an array's, a file has its own.

    Raises:
        UsageError: neither a path nor an array, or an array without its rate.
    """
    if isinstance(x, (str, PathLike)):
        return Track(x, None, str(x))
    return Track(x, rate_hz, name)


def as_tracks(x: Audio | Audios, rate_hz: int | None) -> list[Track]:
    """One track, or a list of them, as a list.

    Raises:
        UsageError: an empty list, or what ``one_track`` refuses.
    """
    if not isinstance(x, (list, tuple)):
        return [one_track(x, rate_hz)]
    if not x:
        raise UsageError("an empty list of audio; pass at least one path or array.")
    return [one_track(each, rate_hz, f"audio array {index}") for index, each in enumerate(x)]
