"""An index on disk of the embeddings of a music library, and the search for the nearest.

The index is a LanceDB table; every change is written whole or not at all. Search is exact: each
query is compared with every embedding, read from disk in blocks. Where there are so many that this
takes long, ``approximate`` builds what compares few of them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...common.environment import import_extra
from ...common.lock import locked
from ...errors import UsageError
from .approximate import (
    MOST_TOP,
    Approximation,
    build_approximation,
    nearest_query,
    read_approximation,
)
from .table import (
    SOURCE,
    TABLE,
    WINDOWING,
    index_facts,
    index_schema,
    is_of_clips,
    literal,
    reported,
    table_facts,
)

_DROPPED_AT_ONCE = 1000
# Every commit adds a file and keeps the version before it, for readers that are not done yet.
_MOST_SMALL_FILES = 64
_OLD_VERSIONS_STAY = timedelta(minutes=10)
# There, an exact search takes two cores 0.7 s, and all else of a command 1.9 s. Building an IVF-PQ
# takes a minute, which 130 searches win back: benchmarks/results/search-zen4-epyc-2-cores.
LEAST_APPROXIMATED_BYTES = 1_000_000_000


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

    Attributes:
        source: what it was written from at once, with ``write_index``; None otherwise.
    """

    def __init__(self, folder: Path, table: Any, source: str | None = None) -> None:
        self._folder = folder
        self._table = table
        self.source = source

    def entries(self) -> dict[Path, Entry]:
        """Every file in the index."""
        columns = ["path", *Entry._fields]
        found = {}
        with reported(self._folder):
            for batch in self._table.search().select(columns).to_batches():
                rows = zip(*(batch[name].to_pylist() for name in columns), strict=True)
                for path, *facts in rows:
                    found[Path(os.fsdecode(path))] = Entry(*facts)
        return found

    def count(self) -> int:
        """How many rows there are."""
        with reported(self._folder):
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
        with reported(self._folder):
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
        self._delete("path", list(map(literal, names)))

    def embedding(self, name: Path | bytes) -> np.ndarray | None:
        """A file's embedding, float32 (width,); None if the file is not there or was unusable."""
        with reported(self._folder):
            query = self._table.search().where(f"path = {literal(name)}").limit(1)
            found = query.select(["embedding"]).to_arrow()["embedding"].to_pylist()
        return np.array(found[0], np.float32) if found and found[0] is not None else None

    def nearest(
        self, embedding: np.ndarray, top: int, without: Path | None = None, exact: bool = False
    ) -> list[Match]:
        """The files whose embeddings have the largest cosine to this one, best first.

        Args:
            embedding: float32 (width,), not necessarily of length one.
            top: how many at most.
            without: a file to leave out.
            exact: compare it with all of them, also where there is an ``approximation``.
        """
        left_out = None if without is None else os.fsencode(without)
        found = self.nearest_names(embedding, top, left_out, exact)
        return [Match(Path(os.fsdecode(name)), cosine) for name, cosine in found]

    def nearest_names(
        self, embedding: np.ndarray, top: int, without: bytes | None = None, exact: bool = False
    ) -> list[tuple[bytes, float]]:
        """``nearest``, with names as they stand in the table, and each one's cosine."""
        about = self.approximation_for(top, exact)
        wanted = top + (without is not None)
        with reported(self._folder):
            query = nearest_query(self._table, embedding, wanted, about.probes if about else 0)
            found = query.where("error IS NULL").select(["path", "_distance"]).to_arrow()
        pairs = zip(found["path"].to_pylist(), found["_distance"].to_pylist(), strict=True)
        return [(name, 1 - distance) for name, distance in pairs if name != without][:top]

    @cached_property
    def approximation(self) -> Approximation | None:
        """What ``approximate`` built, if it did."""
        with reported(self._folder):
            return read_approximation(self._folder, self._table)

    def approximation_for(self, top: int, exact: bool = False) -> Approximation | None:
        """The approximation that ``nearest`` uses for this question; None where it is exact."""
        found = None if exact or top > MOST_TOP else self.approximation
        return found if found is not None and found.probes else None

    def is_slow(self) -> bool:
        """Whether there are so many embeddings that ``approximate`` pays, and has to be called."""
        rows = self.count()
        width = self._table.schema.field("embedding").type.list_size
        pays = rows * width * np.dtype(np.float32).itemsize >= LEAST_APPROXIMATED_BYTES
        return pays and (self.approximation is None or not self.approximation.fits(rows))

    def approximate(self, on_step: Callable[[str], None] = lambda what: None) -> Approximation:
        """Build an IVF-PQ, which later searches use; ``on_step`` is called before each step.

        Rows that come later are found too: they are all compared until they are built in.
        """
        with reported(self._folder):
            self.approximation = build_approximation(self._folder, self._table, on_step)
        return self.approximation

    def _delete(self, column: str, values: Sequence[str]) -> None:
        for start in range(0, len(values), _DROPPED_AT_ONCE):
            listed = ", ".join(values[start : start + _DROPPED_AT_ONCE])
            with reported(self._folder):
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
        with reported(self._folder):
            merge = self._table.merge_insert("path").when_matched_update_all()
            if embeddings is not None:
                merge = merge.when_not_matched_insert_all()
            merge.execute(table, on_bad_vectors="null")  # files with errors have none
        self._compact()

    def _compact(self) -> None:
        with reported(self._folder):
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

    facts = index_facts(artefact_sha256, width, windowing)
    with reported(folder):
        database = lancedb.connect(folder)
        try:
            table = database.open_table(TABLE)
        except ValueError:  # there is none
            with locked(folder):  # another process may be making it
                table = database.create_table(TABLE, schema=index_schema(facts), exist_ok=True)
        found = table_facts(table)
    source = found.pop(SOURCE, None) if found else None
    if is_of_clips(found) and is_of_clips(facts):
        facts.pop(WINDOWING, None)
        found.pop(WINDOWING, None)
    if found != facts:
        raise UsageError(
            f"{folder}: this index is another model's, or of other windows, and such embeddings "
            "cannot be compared. Search with the same bundle, artefact and windows, name another "
            f"folder with --index, or delete {folder}."
        )
    return SearchIndex(folder, table, source)
