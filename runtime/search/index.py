"""An index on disk of the embeddings of a music library, and the search for the nearest.

The index is a LanceDB table; every change is written whole or not at all. Search is exact:
each query is compared with every embedding, read from disk in blocks.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...common.environment import import_extra
from ...common.files import disk_full_error
from ...common.lock import locked
from ...errors import UsageError

_TABLE, _FACTS = "tracks", b"muqrt"
_FORMAT_VERSION = 1
_WINDOWING = "windowing"
_DROPPED_AT_ONCE = 1000
# Every commit adds a file and keeps the version before it, for readers that are not done yet.
_MOST_SMALL_FILES = 64
_OLD_VERSIONS_STAY = timedelta(minutes=10)


class Entry(NamedTuple):
    """A file as it was when it was embedded, with the reason if it could not be used."""

    size_bytes: int
    mtime_ns: int
    sha256: str
    error: str | None = None


class Match(NamedTuple):
    """A file of the library and its cosine to a query."""

    name: Path
    cosine: float


class SearchIndex:
    """The index of one library by one model; files have their paths relative to the library.

    Only a process that has ``locked`` the folder may write, or a path could come to be there twice.

    Every method raises UsageError when the index cannot be read or written.
    """

    def __init__(self, folder: Path, table: Any) -> None:
        self._folder = folder
        self._table = table

    def entries(self) -> dict[Path, Entry]:
        """Every file in the index."""
        columns = ["path", *Entry._fields]
        found = {}
        with _reported(self._folder):
            for batch in self._table.search().select(columns).to_batches():
                rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
                for path, *facts in rows:
                    found[Path(os.fsdecode(path))] = Entry(*facts)
        return found

    def count(self) -> int:
        """How many rows there are."""
        with _reported(self._folder):
            return int(self._table.count_rows())

    def put(self, files: Mapping[Path, tuple[Entry, np.ndarray | None]]) -> None:
        """Add files, or replace their entries and embeddings, in one commit.

        Args:
            files: each one's entry and embedding, float32 (width,), not
                necessarily of length one; None of one that could not be used.
        """
        entries = {name: entry for name, (entry, _) in files.items()}
        self._merge(entries, [embedding for _, embedding in files.values()])

    def doubles(self) -> list[int]:
        """The rows, all but the newest, of files that are there more than once.

        Versions without a lock left such rows where two processes wrote at a time.
        """
        newest: dict[bytes, int] = {}
        older = []
        with _reported(self._folder):
            for batch in self._table.search().select(["path"]).with_row_id(True).to_batches():
                rows = zip(batch["path"].to_pylist(), batch["_rowid"].to_pylist(), strict=True)
                for path, row in rows:
                    if path in newest:
                        older.append(min(newest[path], row))
                    newest[path] = max(newest.get(path, 0), row)
        return older

    def drop_rows(self, rows: Sequence[int]) -> None:
        """Remove rows, such as ``doubles``."""
        self._delete("_rowid", list(map(str, rows)))

    def repair(self) -> None:
        """Remove ``doubles``."""
        self.drop_rows(self.doubles())

    def restamp(self, entries: Mapping[Path, Entry]) -> None:
        """Replace files' entries, in one commit; their embeddings stay."""
        self._merge(entries, None)

    def drop(self, names: Sequence[Path]) -> None:
        """Remove files."""
        self._delete("path", list(map(_literal, names)))

    def embedding(self, name: Path) -> np.ndarray | None:
        """A file's embedding, float32 (width,); None if the file is not there or was unusable."""
        with _reported(self._folder):
            query = self._table.search().where(f"path = {_literal(name)}").limit(1)
            found = query.select(["embedding"]).to_arrow()["embedding"].to_pylist()
        return np.array(found[0], np.float32) if found and found[0] is not None else None

    def nearest(self, embedding: np.ndarray, top: int, without: Path | None = None) -> list[Match]:
        """The files whose embeddings have the largest cosine to this one, best first.

        Args:
            embedding: float32 (width,), not necessarily of length one.
            top: how many at most.
            without: a file to leave out.
        """
        usable = "error IS NULL"
        if without is not None:
            usable += f" AND path != {_literal(without)}"
        with _reported(self._folder):
            query = self._table.search(embedding, vector_column_name="embedding")
            query = query.distance_type("cosine").where(usable).limit(top)
            found = query.select(["path", "_distance"]).to_arrow()
        pairs = zip(found["path"].to_pylist(), found["_distance"].to_pylist(), strict=True)
        return [Match(Path(os.fsdecode(path)), 1 - distance) for path, distance in pairs]

    def _delete(self, column: str, values: Sequence[str]) -> None:
        for start in range(0, len(values), _DROPPED_AT_ONCE):
            listed = ", ".join(values[start : start + _DROPPED_AT_ONCE])
            with _reported(self._folder):
                self._table.delete(f"{column} IN ({listed})")
        if values:
            self._compact()

    def _merge(
        self, entries: Mapping[Path, Entry], embeddings: list[np.ndarray | None] | None
    ) -> None:
        import pyarrow

        if not entries:
            return
        columns = zip(Entry._fields, zip(*entries.values(), strict=True), strict=True)
        rows: dict[str, Any] = {"path": [os.fsencode(name) for name in entries], **dict(columns)}
        if embeddings is not None:
            rows["embedding"] = embeddings
        schema = pyarrow.schema([self._table.schema.field(name) for name in rows])
        table = pyarrow.Table.from_pydict(rows, schema)
        with _reported(self._folder):
            merge = self._table.merge_insert("path").when_matched_update_all()
            if embeddings is not None:
                merge = merge.when_not_matched_insert_all()
            merge.execute(table, on_bad_vectors="null")  # files with errors have none
        self._compact()

    def _compact(self) -> None:
        with _reported(self._folder):
            small_files = self._table.stats()["fragment_stats"]["num_small_fragments"]
        if small_files >= _MOST_SMALL_FILES:
            # Another process that writes at this moment goes first; it is for the next time then.
            with suppress(RuntimeError):
                self._table.optimize(cleanup_older_than=_OLD_VERSIONS_STAY)


def open_index(
    folder: Path, artefact_sha256: str, width: int, windowing: Mapping[str, Any] | None = None
) -> SearchIndex:
    """The index in a folder; a new one where there is none.

    Args:
        folder: the index's.
        artefact_sha256: the audio artefact's hash.
        width: dimensions of its embeddings.
        windowing: how tracks are cut for them: ``Model.windowing(...).facts``. The clips of a
            MuQ-MuLan when left out, as in every index that does not say.

    Raises:
        UsageError: the index is another model's or windowing's, or cannot be read or written.
        MissingDependencyError: the library lancedb is not installed.
    """
    import_extra("search", "lancedb", "pyarrow")
    import lancedb
    import pyarrow

    facts: dict[str, Any] = {
        "format": _FORMAT_VERSION,
        "artefact_sha256": artefact_sha256,
        "width": width,
    }
    if windowing is not None:
        facts[_WINDOWING] = dict(windowing)
    fields = [
        pyarrow.field("path", pyarrow.binary(), nullable=False),  # file names may be no text
        pyarrow.field("size_bytes", pyarrow.int64()),
        pyarrow.field("mtime_ns", pyarrow.int64()),
        pyarrow.field("sha256", pyarrow.string()),
        pyarrow.field("error", pyarrow.string()),
        pyarrow.field("embedding", pyarrow.list_(pyarrow.float32(), width)),
    ]
    with _reported(folder):
        database = lancedb.connect(folder)
        try:
            table = database.open_table(_TABLE)
        except ValueError:  # there is none
            schema = pyarrow.schema(fields, metadata={_FACTS: json.dumps(facts)})
            with locked(folder):  # another process may be making it
                table = database.create_table(_TABLE, schema=schema, exist_ok=True)
        found = json.loads((table.schema.metadata or {}).get(_FACTS, b"null"))
    if _is_of_clips(found) and _is_of_clips(facts):
        facts.pop(_WINDOWING, None)
        found.pop(_WINDOWING, None)
    if found != facts:
        raise UsageError(
            f"{folder}: this index is another model's, or of other windows, and such embeddings "
            "cannot be compared. Search with the same bundle, artefact and windows, name another "
            f"folder with --index, or delete {folder}."
        )
    return SearchIndex(folder, table)


def _is_of_clips(facts: Mapping[str, Any] | None) -> bool:
    return facts is not None and "last_clip" in facts.get(_WINDOWING, {"last_clip": ""})


def _literal(name: Path) -> str:
    """A file's name as an SQL literal, whatever bytes it has."""
    return f"X'{os.fsencode(name).hex()}'"


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Raise the library's errors, which have no class of their own, as UsageError."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        if (full := disk_full_error(error, folder)) is not None:
            raise full from None
        raise UsageError(
            f"{folder}: the index cannot be read or written ({error}). If it is damaged, delete "
            "that folder, and it is made again."
        ) from None
