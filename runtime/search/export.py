"""An index of a catalogue's export: a Parquet file with latents."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...common.environment import import_extra
from ...errors import UsageError
from .index import SearchIndex, open_index
from .table import index_facts, index_schema, write_index, written_from

SUFFIX = ".parquet"
_FACTS, _LATENTS = b"muqrt", "latents"
_ROWS_AT_ONCE = 16_384
_COLUMNS = ["key", "size_bytes", "modified_ns", "sha256", _LATENTS]


def export_index(
    export: Path,
    folder: Path,
    artefact_sha256: str,
    width: int,
    windowing: Mapping[str, Any],
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> SearchIndex:
    """The index of an export, written first if it is not that of the file as it is now.

    Args:
        export: the file.
        folder: the index's.
        artefact_sha256, width, windowing: what the latents have to be, as for ``open_index``.
        on_rows: called with how many rows have been written, and how many there are.

    Raises:
        UsageError: no export, one without latents or of another model; or the index cannot be
            written.
        MissingDependencyError: the library lancedb is not installed.
    """
    import_extra("search", "lancedb", "pyarrow")
    from pyarrow import ArrowException, parquet

    try:
        stamp = export.stat()
        with parquet.ParquetFile(export) as opened:
            facts = _facts(export, opened.schema_arrow.metadata or {})
            if facts != index_facts(artefact_sha256, width, windowing):
                raise UsageError(
                    f"{export}: the latents are another model's, or of other windows. Search with "
                    "the bundle and artefact that the catalogue was planned with."
                )
            source = f"{export.name} {stamp.st_size} {stamp.st_mtime_ns}"
            if written_from(folder) != source:
                write_index(folder, facts, _batches(opened, facts, on_rows), source)
    except (ArrowException, OSError) as error:
        raise UsageError(f"{export}: no Parquet file that can be read ({error}).") from None
    return open_index(folder, artefact_sha256, width, windowing)


def _facts(export: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What the latents depend on, as an index has it."""
    try:
        recipe = json.loads(metadata[_FACTS])["recipe"]
        latents = recipe["columns"][_LATENTS]
        return index_facts(recipe["artefact_sha256"], latents["width"], latents["windowing"])
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"{export}: no export of a catalogue with latents. Plan one with --outputs latents, "
            "run it, and export it with: muqrt catalogue export"
        ) from None


def _batches(
    opened: Any, facts: Mapping[str, Any], on_rows: Callable[[int, int], None]
) -> Iterator[Any]:
    import pyarrow

    schema, done, total = index_schema(facts), 0, opened.metadata.num_rows
    for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=_COLUMNS):
        keys, sizes, times, hashes, latents = (batch[name] for name in _COLUMNS)
        columns = [
            keys.cast(pyarrow.binary()),
            sizes,
            times,
            hashes,
            pyarrow.nulls(len(keys), pyarrow.string()),
            latents.cast(schema.field("embedding").type),
        ]
        yield pyarrow.record_batch(columns, schema=schema)
        on_rows(done := done + len(keys), total)
