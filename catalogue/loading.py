"""Tracks fetched and decoded in advance, in threads, within a budget of bytes."""

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np

from ..common.files import sha256
from ..errors import AudioError, MissingDependencyError, StorageError
from ..runtime.audio.damage import Damage, Tolerance
from ..runtime.audio.read import stream
from .storage import absolute, file_system, is_remote, retried

# Decoded, 15 minutes of a track: a longer one is decoded again for each output instead.
LARGEST_WAVEFORM_BYTES = 4 * 24_000 * 900
# What waits for the model, decoded.
MOST_BYTES_AHEAD = 256 << 20
# Above any track: a day of 16-bit stereo is 15 GB.
LARGEST_FILE_BYTES = 16 << 30
_Item = TypeVar("_Item")


@dataclass
class LoadedTrack:
    """A track that is ready for the model.

    Attributes:
        key: its address.
        audio: its samples, float32 (samples,), or for a long one its file on this machine.
        rate_hz: of the samples; None for a file.
        sha256: of its file.
        size_bytes, modified_ns: of its file; the time only where it lies on this machine.
        seconds: how long it is.
        lost_seconds: how much of it was damaged and is left out.
        copy: the fetched file that has to be removed.
    """

    key: str
    audio: np.ndarray | Path
    rate_hz: int | None
    sha256: str
    size_bytes: int
    modified_ns: int | None
    seconds: float
    lost_seconds: float
    copy: Path | None = None

    @property
    def bytes(self) -> int:
        """How much memory it holds."""
        return self.audio.nbytes if isinstance(self.audio, np.ndarray) else 0

    def discard(self) -> None:
        """Remove the fetched file."""
        if self.copy is not None:
            self.copy.unlink(missing_ok=True)


@dataclass(frozen=True)
class FailedTrack:
    """A track that could not be used.

    Attributes:
        key: its address.
        kind: "audio", for what will not change; "missing"; "storage", for what was refused however
            often it was tried; "model"; "died" for a track that ended its process.
        reason: what was wrong, without the key.
        attempts: how often it was tried.
    """

    key: str
    kind: str
    reason: str
    attempts: int = 1


def load_track(
    key: str, rate_hz: int, most_lost_share: float, scratch: Path
) -> LoadedTrack | FailedTrack:
    """Fetch a track if it is elsewhere, hash it and decode it.

    Args:
        key: its address.
        rate_hz: the sample rate that is wanted.
        most_lost_share: how much damage is accepted.
        scratch: folder for files from elsewhere.
    """
    copy = scratch / f"{uuid4().hex}{_suffix(key)}" if is_remote(key) else None
    path = copy or Path(absolute(key))
    kept = False
    try:
        if copy is not None:
            fetch(key, copy)
        track = _loaded(key, path, rate_hz, most_lost_share)
        if track.rate_hz is None:
            track.copy, kept = copy, True
        return track
    except FileNotFoundError:
        return FailedTrack(key, "missing", "no such file.")
    except StorageError as error:
        return FailedTrack(key, "storage", str(error).removeprefix(f"{key}: "))
    except AudioError as error:
        return FailedTrack(key, "audio", str(error).removeprefix(f"{path}: "))
    finally:
        if copy is not None and not kept:
            copy.unlink(missing_ok=True)


def fetch(address: str, target: Path) -> None:
    """Copy a remote file to this machine.

    Raises:
        FileNotFoundError: it is not there. StorageError: the storage refuses, or it is too large.
    """
    files, path = file_system(address)

    def attempt() -> None:
        size_bytes = files.info(path).get("size")
        if size_bytes is not None and size_bytes > LARGEST_FILE_BYTES:
            raise StorageError(f"{address}: {size_bytes / 1e9:.0f} GB; no track is so large.")
        files.get_file(path, str(target), callback=_bounded(address))
        found_bytes = target.stat().st_size
        if size_bytes is not None and found_bytes != size_bytes:
            raise OSError(errno.EIO, f"only {found_bytes} of {size_bytes} bytes came")

    retried(address, attempt)


def _bounded(address: str) -> Any:
    """What fsspec tells of a copy's progress; it is ended when more comes than any track has."""
    from fsspec.callbacks import Callback

    class Bounded(Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > LARGEST_FILE_BYTES:
                raise StorageError(
                    f"{address}: more than {LARGEST_FILE_BYTES / 1e9:.0f} GB; no track is so large."
                )

    return Bounded()


def _suffix(key: str) -> str:
    """Its file's suffix, without the query of an address on the web, which may be long."""
    return Path(urlsplit(key).path if key.startswith(("http://", "https://")) else key).suffix


def _loaded(key: str, path: Path, rate_hz: int, most_lost_share: float) -> LoadedTrack:
    damages: list[Damage] = []
    tolerance = Tolerance(
        most_lost_share, lambda name, damage: damages.append(damage), lambda name, seconds: None
    )
    before = retried(key, path.stat)
    digest = retried(key, lambda: sha256(path))
    blocks: list[np.ndarray] | None = []
    samples = 0
    for block in _decoded(path, rate_hz, tolerance):
        samples += len(block)
        if samples * block.itemsize > LARGEST_WAVEFORM_BYTES:
            blocks = None
        if blocks is not None:
            blocks.append(block)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StorageError("changed while it was read.")
    return LoadedTrack(
        key,
        path if blocks is None else np.concatenate(blocks),
        None if blocks is None else rate_hz,
        digest,
        before.st_size,
        None if is_remote(key) else before.st_mtime_ns,
        samples / rate_hz,
        sum(each.lost_seconds for each in damages),
    )


def _decoded(path: Path, rate_hz: int, tolerance: Tolerance) -> Iterator[np.ndarray]:
    """``stream``; a format that nothing here decodes is the file's fault, not the job's."""
    try:
        yield from stream(path, rate_hz, tolerance)
    except MissingDependencyError as error:
        raise AudioError(str(error)) from None


def loaded_ahead(
    items: Iterable[_Item],
    load: Callable[[_Item], LoadedTrack | FailedTrack],
    threads: int,
    most_bytes: int = MOST_BYTES_AHEAD,
) -> Generator[tuple[_Item, LoadedTrack | FailedTrack], None, None]:
    """Load tracks in threads while those before them are used; in order.

    No further one is begun while they hold more than ``most_bytes``; one that is not loaded yet is
    taken to be as large as the largest before. At most ``in_flight(threads)`` have been begun and
    not been used up.
    """
    largest_bytes = 0
    waiting: deque[tuple[_Item, Future[LoadedTrack | FailedTrack]]] = deque()
    coming = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="load")
    try:
        while True:
            while (
                len(waiting) < in_flight(threads) - 1
                and _held_bytes(waiting, largest_bytes) <= most_bytes
            ):
                item = next(coming, None)
                if item is None:
                    break
                waiting.append((item, pool.submit(load, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            track = future.result()
            if isinstance(track, LoadedTrack):
                largest_bytes = max(largest_bytes, track.bytes)
            yield item, track
            if isinstance(track, LoadedTrack):
                track.discard()
            del track, future  # its samples
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for _, future in waiting:
            with suppress(Exception):
                if future.done() and isinstance(found := future.result(), LoadedTrack):
                    found.discard()


def in_flight(threads: int) -> int:
    """How many tracks may be begun and not used up when so many threads load them."""
    return 2 * threads + 1


def _held_bytes(
    waiting: Iterable[tuple[_Item, "Future[LoadedTrack | FailedTrack]"]], expected_bytes: int
) -> int:
    held = 0
    for _, future in waiting:
        if not future.done():
            held += expected_bytes
        elif isinstance(found := future.result(), LoadedTrack):
            held += found.bytes
    return held
