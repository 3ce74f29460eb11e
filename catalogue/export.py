"""All parts of a job as one Parquet file, or as an index for ``muqrt search``."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from ..common.environment import import_extra
from ..common.files import atomic_file
from ..errors import StorageError, UsageError
from ..runtime.search.table import index_facts, index_schema, write_index
from .job import PARTS, Job
from .part import failures, schema
from .partition import Partition
from .status import failed_tracks
from .storage import is_remote, store

_PARTS_AT_ONCE = 16
OnTracks = Callable[[int], None]


def parts(job: Job) -> Iterator[Any]:
    """The Arrow tables of the parts that are done, in order.

    Raises:
        StorageError: a part and its failures are not the partition's tracks, each once.
    """
    done = job.done()
    for manifest in job.manifests:
        keys, start = job.manifest_keys(manifest), 0
        waiting: list[tuple[Partition, list[str]]] = []
        for partition in job.partitions:
            if partition.manifest != manifest:
                continue
            if partition.name in done:
                waiting.append((partition, keys[start : start + partition.tracks]))
            start += partition.tracks
            if len(waiting) == _PARTS_AT_ONCE:
                yield from _read(job, waiting)
                waiting = []
        yield from _read(job, waiting)


def _read(job: Job, wanted: Sequence[tuple[Partition, list[str]]]) -> Iterator[Any]:
    with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
        yield from pool.map(lambda each: _checked(job, *each), wanted)


def _checked(job: Job, partition: Partition, keys: list[str]) -> Any:
    from pyarrow import parquet

    name = f"{PARTS}/{partition.name}.parquet"
    table = parquet.read_table(BytesIO(job.folder.read(name)))
    found = [*table["key"].to_pylist()]
    if len(found) < len(keys):
        found += [each.key for each in failures(job.folder, partition.name)]
    if sorted(found) != sorted(keys):
        raise StorageError(
            f"{job.folder.file(name)}: this part and the failures beside it are not the tracks of "
            "its partition. Delete it and run the job again."
        )
    return table


def export_parquet(job: Job, output: Path, on_tracks: OnTracks = lambda tracks: None) -> int:
    """Write every track with results as a row of one file, whole or not at all.

    Those without are in ``OUTPUT.failed.jsonl``, if there are any.

    Returns:
        How many rows there are.
    """
    from pyarrow import parquet

    rows = 0
    facts = {"job": job.folder.address, "tracks": job.facts.tracks}
    wanted = schema(job.recipe, facts)
    with (
        atomic_file(output) as temporary,
        parquet.ParquetWriter(temporary, wanted, compression="zstd") as writer,
    ):
        for table in parts(job):
            writer.write_table(table.cast(wanted))
            rows += table.num_rows
            on_tracks(table.num_rows)
    beside = output.with_suffix(".failed.jsonl")
    if failed := failed_tracks(job):
        with atomic_file(beside) as temporary:
            lines = "".join(json.dumps(asdict(each)) + "\n" for each in failed.values())
            temporary.write_text(lines, encoding="utf-8")
    else:
        beside.unlink(missing_ok=True)  # an earlier export's
    return rows


def export_parquet_to(job: Job, address: str, on_tracks: OnTracks = lambda tracks: None) -> int:
    """``export_parquet`` to a storage that is not this machine: made here, and then copied."""
    name = PurePosixPath(address).name
    with TemporaryDirectory(prefix="muqrt-") as scratch:
        rows = export_parquet(job, Path(scratch) / name, on_tracks)
        for path in sorted(Path(scratch).iterdir()):
            store(path, f"{address.rsplit('/', 1)[0]}/{path.name}")
    return rows


def export_index(job: Job, folder: Path, on_tracks: OnTracks = lambda tracks: None) -> int:
    """Write an index of the latents, or without them of the embeddings, in one commit, as ``muqrt
    search`` and ``muqrt watch`` keep it. Of one folder's job it is that folder's.

    Returns:
        How many tracks it has.

    Raises:
        UsageError: the job has neither output, or the index of a folder of music is there.
    """
    import_extra("search", "lancedb")
    import pyarrow

    column = next((each for each in ("latents", "embedding") if each in job.recipe.columns), None)
    if column is None:
        raise UsageError("an index is of latents or embeddings; this job computes neither.")
    described = job.recipe.columns[column]
    facts = index_facts(job.recipe.artefact_sha256, described["width"], described["windowing"])
    rows = 0

    def batches() -> Iterator[Any]:
        nonlocal rows
        library, wanted = _library(job), index_schema(facts)
        for table in parts(job):
            names = [os.fsencode(_name(key, library)) for key in table["key"].to_pylist()]
            columns = [pyarrow.array(names, pyarrow.binary())]
            columns += [table[each] for each in ("size_bytes", "modified_ns", "sha256")]
            columns += [pyarrow.nulls(len(names), pyarrow.string()), table[column]]
            yield from pyarrow.table(columns, wanted.names).cast(wanted).to_batches()
            rows += len(names)
            on_tracks(len(names))

    write_index(folder, facts, batches(), job.folder.address)
    return rows


def _library(job: Job) -> Path | None:
    """The folder of music that is the job's only source."""
    sources = job.facts.sources
    is_folder = len(sources) == 1 and not is_remote(sources[0]) and Path(sources[0]).is_dir()
    return Path(sources[0]) if is_folder else None


def _name(key: str, library: Path | None) -> str:
    return key if library is None else str(Path(key).relative_to(library))
