"""Bring a search index up to date with its library: new, changed and removed files."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from ...common.closing import Closing
from ...common.files import sha256
from ...common.lock import locked
from ...errors import AudioError
from ..audio.tracks import AudioFile
from .index import Entry

# So much work is lost at most when a process is killed.
_COMMIT_SECONDS = 5.0
CHANGED = "changed while it was read; it is left for the next time"

_Value = TypeVar("_Value")
EmbedFiles = Callable[[Iterable[AudioFile]], Iterator[tuple[AudioFile, np.ndarray | AudioError]]]
# The library's files: each one's path by its path relative to the library.
Files = Mapping[Path, Path]


class Outcome(NamedTuple):
    """The outcome for a file; ``error`` says why it could not be used."""

    name: Path
    error: str | None


@dataclass(frozen=True)
class Changes:
    """How a library differs from its index.

    Attributes:
        new: files to embed: not in the index, of another size, or to be tried again.
        touched: files of the same size but another time, which may be the same all the same.
        gone: files in the index only.
        known: of the files in the index, those that are still as they were.
    """

    new: list[Path]
    touched: dict[Path, Entry]
    gone: list[Path]
    known: dict[Path, Entry]

    @property
    def any(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.new or self.touched or self.gone)


class Sink(Protocol):
    """Where embeddings go."""

    def put(self, files: Mapping[Path, tuple[Entry, np.ndarray | None]]) -> None:
        """Add files, or replace their entries and embeddings, in one commit."""


class Embeddings(Sink, Protocol):
    """A library's embeddings, with each file as it was: a ``SearchIndex`` or ``ResultFolder``."""

    def entries(self) -> dict[Path, Entry]:
        """Every file that is there."""

    def count(self) -> int:
        """How many entries there are: more than files where some are there twice."""

    def repair(self) -> None:
        """Remove what is there twice."""

    def restamp(self, entries: Mapping[Path, Entry]) -> None:
        """Replace files' entries; their embeddings stay."""

    def drop(self, names: Sequence[Path]) -> None:
        """Remove files."""

    def embedding(self, name: Path) -> np.ndarray | None:
        """A file's embedding, float32 (width,); None if it has none."""


_Found = TypeVar("_Found", bound=Embeddings)


@contextmanager
def updating(
    folder: Path, open_embeddings: Callable[[], _Found], files: Files, retry: bool = False
) -> Iterator[tuple[_Found, Changes]]:
    """Yield the embeddings in a folder, and how the library differs from them.

    Where it differs, no other process may write in the folder before the block ends: this one waits
    for another that does, and looks again. An index with doubles is repaired.

    Args:
        folder: the embeddings'.
        open_embeddings: opens them, such as ``open_index``.
        files, retry: see ``find_changes``.
    """
    found = open_embeddings()
    changes = find_changes(found, files, retry)
    with ExitStack() as held:
        # Without changes every file is known: further rows are doubles.
        if changes.any or found.count() > len(changes.known):
            held.enter_context(locked(folder))
            found = open_embeddings()
            found.repair()
            changes = find_changes(found, files, retry)
        yield found, changes


def find_changes(index: Embeddings, files: Files, retry: bool = False) -> Changes:
    """Compare a library with its index, by its files' sizes and times alone.

    Args:
        index: of the library.
        files: of the library.
        retry: count the files that could not be used as new.
    """
    entries = index.entries()
    changes = Changes([], {}, [name for name in entries if name not in files], {})
    for name, path in files.items():
        entry, now = entries.get(name), size_and_time(path)
        if (
            entry is None
            or now is None  # opening it raises what is wrong
            or entry.size_bytes != now[0]
            or (retry and entry.error is not None)
        ):
            changes.new.append(name)
        elif entry.mtime_ns != now[1]:
            changes.touched[name] = entry
        else:
            changes.known[name] = entry
    return changes


def recheck(index: Embeddings, files: Files, changes: Changes) -> Iterator[Path]:
    """Read the files that were touched, and count them among the ``new`` or the ``known``.

    Yields:
        Each file, once that is done.
    """
    with _Commits(index.restamp) as commits:
        for name, entry in changes.touched.items():
            now = file_entry(files[name])
            if now is None or now.sha256 != entry.sha256:
                changes.new.append(name)
            else:
                changes.known[name] = now._replace(error=entry.error)
                commits.add(name, changes.known[name])
            yield name


def embed_into(
    index: Sink, files: Files, new: Sequence[Path], embed_files: EmbedFiles
) -> Generator[Outcome, None, None]:
    """Embed files and commit them every few seconds, and when the caller stops.

    What cannot be used is in the index with the reason, and is not tried again until it changes. A
    file that changes or goes while it is read is left for the next time.

    Yields:
        The outcome for each file, in order.
    """
    entries: dict[Path, Entry] = {}

    def paths() -> Iterator[Path]:
        for name in new:
            entry = file_entry(files[name])  # before it is decoded: it may change meanwhile
            if entry is not None:
                entries[name] = entry
            yield files[name]

    with _Commits(index.put) as commits:
        for name, (_, result) in zip(new, embed_files(paths()), strict=True):
            entry = entries.pop(name, None)
            error, embedding = None, None
            if entry is not None and size_and_time(files[name]) != (
                entry.size_bytes,
                entry.mtime_ns,
            ):
                entry, error = None, CHANGED
            elif isinstance(result, AudioError):
                # The library may be somewhere else tomorrow.
                error = str(result).removeprefix(f"{files[name]}: ")
            else:
                embedding = result
            if entry is not None:
                commits.add(name, (entry._replace(error=error), embedding))
            yield Outcome(name, error)


class _Commits(Closing, Generic[_Value]):
    """Collects what is to be committed, and does so every few seconds and in the end."""

    def __init__(self, commit: Callable[[dict[Path, _Value]], None]) -> None:
        self._commit = commit
        self._waiting: dict[Path, _Value] = {}
        self._due_seconds = time.monotonic() + _COMMIT_SECONDS

    def add(self, name: Path, value: _Value) -> None:
        self._waiting[name] = value
        if time.monotonic() >= self._due_seconds:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._commit(self._waiting)
        self._waiting = {}
        self._due_seconds = time.monotonic() + _COMMIT_SECONDS

    def close(self) -> None:
        """Commit what is left."""
        self._flush()


def file_entry(path: Path) -> Entry | None:
    """A file as it is now; None if it cannot be read."""
    stamp = size_and_time(path)
    try:
        return None if stamp is None else Entry(*stamp, sha256(path))
    except OSError:
        return None


def size_and_time(path: Path) -> tuple[int, int] | None:
    """A regular file's size and modification time; None for any other path."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if S_ISREG(found.st_mode) else None
