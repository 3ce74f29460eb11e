"""Audio as a user gives it: a file's path, or samples with their rate."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from os import PathLike
from pathlib import Path

import numpy as np

from ...errors import AudioError, MissingDependencyError, UsageError
from . import read as audio
from .damage import USUAL, Tolerance
from .prefetch import prefetch

AudioFile = str | PathLike[str]
Audio = AudioFile | np.ndarray
# Lists are invariant to a type checker, hence one of each kind.
Audios = list[Audio] | list[str] | list[Path] | list[np.ndarray] | tuple[Audio, ...]

# Longer than the usual window, so that the next is there when the engine has done with one: 3 MB.
SECONDS_AHEAD = 32
_ARRAY_BLOCK_SAMPLES = 16_384
MOST_CHANNELS = 8


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
        if isinstance(self.source, np.ndarray) and self.source.ndim == 2:
            _check_one_track(self.source, self.name)

    def blocks(self, rate_hz: int, tolerance: Tolerance = USUAL) -> Iterator[np.ndarray]:
        """The samples as mono float32 blocks at ``rate_hz``; raises AudioError while read."""
        if not isinstance(self.source, np.ndarray):
            yield from audio.stream(self.source, rate_hz, tolerance)
        elif self.rate_hz is not None:
            waveform = audio.from_array(self.source, self.rate_hz, rate_hz, self.name)
            for start in range(0, len(waveform), _ARRAY_BLOCK_SAMPLES):
                yield waveform[start : start + _ARRAY_BLOCK_SAMPLES]


def _check_one_track(samples: np.ndarray, name: str) -> None:
    """Raise UsageError for a batch of tracks, which would become one by averaging."""
    if min(samples.shape) > MOST_CHANNELS:
        raise UsageError(
            f"{name}: shape {samples.shape}; one track is (samples,) or (channels, samples), with "
            f"at most {MOST_CHANNELS} channels. For a batch pass a list with an array for each "
            "track: list(batch)."
        )


def one_track(x: Audio, rate_hz: int | None = None, name: str = "audio array") -> Track:
    """``x`` as a track; ``rate_hz`` and ``name`` are an array's, a file has its own."""
    if isinstance(x, (str, PathLike)):
        return Track(x, None, str(x))
    return Track(x, rate_hz, name)


def as_tracks(x: Audio | Audios, rate_hz: int | None) -> list[Track]:
    """One track, or a list of them, as a list."""
    if not isinstance(x, (list, tuple)):
        return [one_track(x, rate_hz)]
    if not x:
        raise UsageError("an empty list of audio; pass at least one path or array.")
    return [one_track(each, rate_hz, f"audio array {index}") for index, each in enumerate(x)]


def prefetched_tracks(
    tracks: Iterable[Track],
    rate_hz: int,
    tolerance: Tolerance = USUAL,
    seconds_ahead: int = SECONDS_AHEAD,
) -> Iterator[tuple[Track, Iterator[np.ndarray]]]:
    """Every track with its blocks of a second, of which a thread decodes so many in advance.

    That thread also runs ``tracks``, and goes on to the next track before this one is used up.
    Errors of a track are raised while its blocks are read, as by ``Track.blocks``. The
    thread ends when this generator is closed.
    """
    with closing(prefetch(_decoded(tracks, rate_hz, tolerance), seconds_ahead)) as decoded:
        for track, found in groupby(decoded, itemgetter(0)):
            yield track, _blocks(found)


# None ends a track, so that its end is known before the next one begins.
_Decoded = tuple[Track, np.ndarray | AudioError | MissingDependencyError | None]


def _decoded(
    tracks: Iterable[Track], rate_hz: int, tolerance: Tolerance
) -> Generator[_Decoded, None, None]:
    for track in tracks:
        try:
            for second in _in_seconds(track.blocks(rate_hz, tolerance), rate_hz):
                yield track, second
            yield track, None
        except (AudioError, MissingDependencyError) as error:
            yield track, error


def _in_seconds(blocks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of a second, but for the last; files' blocks are of any length.

    An error comes after all the samples that came before it.
    """
    gathered: list[np.ndarray] = []
    samples = 0
    try:
        for block in blocks:
            gathered.append(block)
            samples += len(block)
            if samples < rate_hz:
                continue
            joined = np.concatenate(gathered)
            whole = samples - samples % rate_hz
            for start in range(0, whole, rate_hz):
                yield joined[start : start + rate_hz]
            gathered, samples = [joined[whole:]], samples - whole
    except (AudioError, MissingDependencyError):
        if samples:
            yield np.concatenate(gathered)
        raise
    if samples:
        yield np.concatenate(gathered)


def _blocks(decoded: Iterable[_Decoded]) -> Iterator[np.ndarray]:
    for _, block in decoded:
        if isinstance(block, (AudioError, MissingDependencyError)):
            raise block
        if block is None:
            return
        yield block
