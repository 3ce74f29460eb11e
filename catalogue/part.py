"""A part: what became of a partition's tracks, in Parquet, and in JSON lines those that failed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np

from .columns import COLUMNS
from .job import PARTS, Recipe
from .loading import FailedTrack, LoadedTrack
from .storage import Folder

FACTS = b"muqrt"  # the metadata that says what a part is


@dataclass
class Row:
    """A track's results, by column."""

    track: LoadedTrack
    values: dict[str, np.ndarray]


_OF_TRACK = ("key", "sha256", "size_bytes", "modified_ns", "seconds", "lost_seconds")


def row_bytes(row: Row, facts: dict[str, Any]) -> bytes:
    """A row for ``row_from``."""
    track = {name: getattr(row.track, name) for name in _OF_TRACK}
    file = BytesIO()
    arrays: dict[str, Any] = {"facts": json.dumps({"track": track, "by": facts}), **row.values}
    np.savez(file, **arrays)
    return file.getvalue()


def row_from(data: bytes, facts: dict[str, Any]) -> Row | None:
    """The row of ``row_bytes``; None where it was computed otherwise than these facts say."""
    with np.load(BytesIO(data)) as arrays:
        found = json.loads(str(arrays["facts"]))
        if found["by"] != facts:
            return None
        values = {name: arrays[name] for name in arrays.files if name != "facts"}
    none = np.zeros(0, np.float32)
    return Row(LoadedTrack(audio=none, rate_hz=None, **found["track"]), values)


def schema(recipe: Recipe, facts: dict[str, Any]) -> Any:
    """The Arrow schema of a job's parts and exports."""
    import pyarrow

    fields = [
        pyarrow.field("key", pyarrow.string(), nullable=False),
        pyarrow.field("sha256", pyarrow.string(), nullable=False),
        pyarrow.field("size_bytes", pyarrow.int64(), nullable=False),
        pyarrow.field("modified_ns", pyarrow.int64()),
        pyarrow.field("duration_seconds", pyarrow.float64(), nullable=False),
        pyarrow.field("lost_seconds", pyarrow.float64(), nullable=False),
    ]
    for name, described in recipe.columns.items():
        kind = COLUMNS[name].arrow_type(described)
        fields.append(pyarrow.field(name, kind, nullable=False))
    document = {"recipe": recipe.model_dump(mode="json"), **facts}
    return pyarrow.schema(fields, metadata={FACTS: json.dumps(document)})


def part_bytes(rows: Sequence[Row], recipe: Recipe, facts: dict[str, Any]) -> bytes:
    """A part's file. Nothing in it depends on when it was written."""
    import pyarrow
    from pyarrow import parquet

    tracks = [row.track for row in rows]
    columns = [
        pyarrow.array([each.key for each in tracks], pyarrow.string()),
        pyarrow.array([each.sha256 for each in tracks], pyarrow.string()),
        pyarrow.array([each.size_bytes for each in tracks], pyarrow.int64()),
        pyarrow.array([each.modified_ns for each in tracks], pyarrow.int64()),
        pyarrow.array([each.seconds for each in tracks], pyarrow.float64()),
        pyarrow.array([each.lost_seconds for each in tracks], pyarrow.float64()),
    ]
    for name, described in recipe.columns.items():
        columns.append(COLUMNS[name].arrow([row.values[name] for row in rows], described))
    file = BytesIO()
    table = pyarrow.table(columns, schema=schema(recipe, facts))
    parquet.write_table(table, file, compression="zstd", use_dictionary=False)
    return file.getvalue()


def commit(
    folder: Folder,
    name: str,
    rows: Sequence[Row],
    failed: Sequence[FailedTrack],
    recipe: Recipe,
    facts: dict[str, Any],
) -> None:
    """Write a part; it counts from when its Parquet file is there, which comes last."""
    data = part_bytes(rows, recipe, facts)
    if failed:
        lines = "".join(json.dumps(asdict(each)) + "\n" for each in failed)
        folder.write(failures_file(name), lines.encode())
    else:
        folder.remove([failures_file(name)])  # of an attempt that ended before it was done
    folder.write(f"{PARTS}/{name}.parquet", data)


def failures(folder: Folder, name: str) -> list[FailedTrack]:
    """The tracks of a partition that failed; none where there is no such file."""
    try:
        text = folder.read(failures_file(name)).decode()
    except FileNotFoundError:
        return []
    return [FailedTrack(**json.loads(line)) for line in text.splitlines()]


def failures_file(name: str) -> str:
    """The file in a job's folder with a partition's failures."""
    return f"{PARTS}/{name}.jsonl"
