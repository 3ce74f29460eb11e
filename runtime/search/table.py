"""The table of an index: what it depends on, and one written of many tracks at once."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...common.environment import import_extra
from ...common.files import disk_full_error
from ...common.lock import locked
from ...errors import UsageError

TABLE, _FACTS = "tracks", b"muqrt"
_FORMAT_VERSION = 1
WINDOWING, SOURCE = "windowing", "source"


def write_index(folder: Path, facts: Mapping[str, Any], rows: Iterable[Any], source: str) -> None:
    """Write an index of many tracks at once, in place of an earlier one of this kind.

    Args:
        folder: the index's.
        facts: from ``index_facts``.
        rows: record batches of ``index_schema(facts)``.
        source: what they are from, for ``SearchIndex.source``.

    Raises:
        UsageError: an index of a folder of music is there, or it cannot be written.
        MissingDependencyError: the library lancedb is not installed.
    """
    import_extra("search", "lancedb", "pyarrow")
    import lancedb
    import pyarrow

    schema = index_schema({**facts, SOURCE: source})
    with reported(folder):
        database = lancedb.connect(folder)
        with locked(folder):
            with suppress(ValueError):  # there is none
                if SOURCE not in (table_facts(database.open_table(TABLE)) or {}):
                    raise UsageError(
                        f"{folder}: the index of a folder of music, which this would replace. Name "
                        "another folder."
                    )
            reader = pyarrow.RecordBatchReader.from_batches(schema, rows)
            database.create_table(TABLE, data=reader, schema=schema, mode="overwrite")


def written_from(folder: Path) -> str | None:
    """What ``write_index`` wrote the index in a folder from; None if there is none of that kind."""
    if not is_index(folder):
        return None
    import lancedb

    with reported(folder):
        return (table_facts(lancedb.connect(folder).open_table(TABLE)) or {}).get(SOURCE)


def is_index(folder: Path) -> bool:
    """Whether a folder is an index."""
    return (folder / f"{TABLE}.lance").is_dir()


def index_facts(
    artefact_sha256: str, width: int, windowing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the embeddings of an index depend on; see ``open_index``."""
    facts = {"format": _FORMAT_VERSION, "artefact_sha256": artefact_sha256, "width": width}
    return facts if windowing is None else {**facts, WINDOWING: dict(windowing)}


def index_schema(facts: Mapping[str, Any]) -> Any:
    """The Arrow schema of an index's table."""
    import pyarrow

    fields = [
        pyarrow.field("path", pyarrow.binary(), nullable=False),  # file names may be no text
        pyarrow.field("size_bytes", pyarrow.int64()),
        pyarrow.field("mtime_ns", pyarrow.int64()),
        pyarrow.field("sha256", pyarrow.string()),
        pyarrow.field("error", pyarrow.string()),
        pyarrow.field("embedding", pyarrow.list_(pyarrow.float32(), facts["width"])),
    ]
    return pyarrow.schema(fields, metadata={_FACTS: json.dumps(facts)})


def table_facts(table: Any) -> Any:
    """What ``index_facts`` gave when a table was made, perhaps with a source; None of another."""
    return json.loads((table.schema.metadata or {}).get(_FACTS, b"null"))


def is_of_clips(facts: Mapping[str, Any] | None) -> bool:
    """Whether an index is of a MuQ-MuLan's clips."""
    return facts is not None and "last_clip" in facts.get(WINDOWING, {"last_clip": ""})


def literal(name: Path | bytes) -> str:
    """A file's name as an SQL literal, whatever bytes it has."""
    return f"X'{os.fsencode(name).hex()}'"


@contextmanager
def reported(folder: Path) -> Iterator[None]:
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
