"""A library's embeddings as one ``.npy`` a file, as ``muqrt embed`` writes them.

A record beside them, an SQLite file, says of each audio file what it was when it was embedded.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from ...common.files import atomic_file
from ...errors import UsageError
from .index import Entry
from .update import Files, file_entry

RECORD_FILE = ".muqrt-files.sqlite"
_COLUMNS = ", ".join(Entry._fields)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size_bytes INTEGER, "
    "mtime_ns INTEGER, sha256 TEXT, error TEXT) WITHOUT ROWID"
)
_WAIT_SECONDS = 30.0
# The entry of a file whose result is being written: no file is like this, so it is embedded again
# if the process is killed meanwhile.
_UNFINISHED = Entry(-1, -1, "")


class ResultFolder:
    """The results in a folder; files have their paths relative to the library.

    Only a process that has ``locked`` the folder may write. Every method raises UsageError when the
    record cannot be read or written.

    Args:
        folder: the results'; made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self) -> dict[Path, Entry]:
        """Every file with a result, or with a reason why there is none."""
        return {
            name: entry
            for name, entry in self._recorded().items()
            if entry.error is not None or self._result(name).exists()
        }

    def count(self) -> int:
        """How many files ``entries`` has: none is there twice."""
        return len(self.entries())

    def repair(self) -> None:
        """Nothing: no file is there twice."""

    def put(self, files: Mapping[Path, tuple[Entry, np.ndarray | None]]) -> None:
        """Write files' results, which are on the disk before their entries say so."""
        self.restamp(dict.fromkeys(files, _UNFINISHED))
        for name, (_, embedding) in files.items():
            if embedding is None:
                self._result(name).unlink(missing_ok=True)
            else:
                with atomic_file(self._result(name)) as temporary, temporary.open("wb") as file:
                    np.save(file, embedding)
                    file.flush()
                    os.fsync(file.fileno())
        self.restamp({name: entry for name, (entry, _) in files.items()})

    def restamp(self, entries: Mapping[Path, Entry]) -> None:
        """Replace files' entries; their results stay."""
        if not entries:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._record() as record, record:
            rows = [(os.fsencode(name), *entry) for name, entry in entries.items()]
            record.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def drop(self, names: Sequence[Path]) -> None:
        """Remove files' results, with the folders that become empty, then their entries."""
        if not names:
            return
        for name in names:
            self._result(name).unlink(missing_ok=True)
            for parent in [*name.parents][:-1]:
                with suppress(OSError):  # not empty, or gone already
                    (self._folder / parent).rmdir()
        with self._record() as record, record:
            rows = [(os.fsencode(name),) for name in names]
            record.executemany("DELETE FROM files WHERE path = ?", rows)

    def embedding(self, name: Path) -> np.ndarray | None:
        """A file's result; None if it has none."""
        try:
            return np.asarray(np.load(self._result(name), allow_pickle=False))
        except (OSError, ValueError):
            return None

    def adopted(self, names: Sequence[Path], files: Files) -> dict[Path, Entry]:
        """Entries for files that were never recorded and have a result younger than they are.

        ``muqrt embed`` writes no record. A file that was written to, renamed or replaced after its
        result is younger, whatever its own time says.
        """
        found, recorded = {}, self._recorded()
        for name in names:
            if name in recorded:  # its result is of what it was, and may have been written later
                continue
            with suppress(OSError):
                if self._result(name).stat().st_mtime_ns > files[name].stat().st_ctime_ns:
                    entry = file_entry(files[name])
                    if entry is not None:
                        found[name] = entry
        return found

    def _recorded(self) -> dict[Path, Entry]:
        if not (self._folder / RECORD_FILE).exists():
            return {}
        with self._record() as record:
            rows = record.execute(f"SELECT path, {_COLUMNS} FROM files").fetchall()
        return {Path(os.fsdecode(path)): Entry(*facts) for path, *facts in rows}

    def _result(self, name: Path) -> Path:
        return self._folder / f"{name}.npy"

    @contextmanager
    def _record(self) -> Iterator[sqlite3.Connection]:
        path = self._folder / RECORD_FILE
        try:
            with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as record:
                record.execute(_TABLE)
                yield record
        except sqlite3.Error as error:
            raise UsageError(
                f"{path}: cannot be read or written ({error}). If it is damaged, delete it: "
                "results that are younger than their audio are kept."
            ) from None
