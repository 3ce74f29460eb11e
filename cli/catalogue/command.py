"""``muqrt catalogue`` status, retry and export: what has become of a job."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from ...common.console import Json, clock, progress, show
from ...errors import UsageError
from ..parameters import expand_options
from .options import JobFolder

_INDEX_SUFFIX, _TABLE_SUFFIX = ".lance", ".parquet"

commands = typer.Typer()


@commands.command()
@expand_options
def status(folder: JobFolder, as_json: Json = False) -> None:
    """Show how far a job is: done, failed and to do, its rate, and the time left."""
    from ...catalogue.job import open_job
    from ...catalogue.status import status_of

    found = status_of(open_job(folder))
    failed = sum(found.failed.values())
    reasons = ", ".join(f"{count} {kind}" for kind, count in found.failed.items())
    rate = ""
    if found.tracks_per_hour is not None and found.to_do:
        rate = f"{found.tracks_per_hour:.0f} tracks an hour; "
        rate += f"{clock(found.seconds_left or 0)} left at that rate"
    show(
        as_json,
        asdict(found),
        f"{folder}: {found.done} of {found.tracks} tracks done, {failed} failed"
        f"{f' ({reasons})' if reasons else ''}, {found.to_do} to do",
        f"{found.partitions_done} of {found.partitions} partitions done",
        rate,
    )


@commands.command()
@expand_options
def retry(
    folder: JobFolder,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Every track that failed, for whatever reason.")
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Those that failed so: storage, missing, audio, model or died."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have failed tracks tried again by the next run."""
    from ...catalogue.job import open_job
    from ...catalogue.status import retry_failed

    if failed == bool(kind):
        raise UsageError("say which tracks to try again: --failed, or --kind storage.")
    tracks = retry_failed(open_job(folder), frozenset(kind) if kind else None)
    next_step = f". Next: muqrt catalogue run {folder}" if tracks else ""
    show(as_json, {"tracks": tracks}, f"{folder}: {tracks} tracks to try again{next_step}")


@commands.command()
@expand_options
def export(
    folder: JobFolder,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.parquet|FOLDER.lance",
            help="One Parquet file, here or at an address as s3://..., or an index that muqrt "
            "search --index takes.",
        ),
    ],
    *,
    partial: Annotated[
        bool, typer.Option("--partial", help="Export what is done, though the job is not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write all results as one file or index, after checking that every track is there once."""
    from ...catalogue.export import export_index, export_parquet, export_parquet_to
    from ...catalogue.job import open_job
    from ...catalogue.status import status_of
    from ...catalogue.storage import absolute, is_remote

    writers: dict[str, Callable[..., int]]
    if is_remote(output):
        where: str | Path = output
        writers = {_TABLE_SUFFIX: export_parquet_to}
    else:
        where = Path(absolute(output))
        writers = {_TABLE_SUFFIX: export_parquet, _INDEX_SUFFIX: export_index}
    suffix = PurePosixPath(output).suffix
    if suffix == _INDEX_SUFFIX and suffix not in writers:
        raise UsageError(f"{output}: an index is written on a disk; copy it from there.")
    if suffix not in writers:
        raise UsageError(f"{output}: name a file {_TABLE_SUFFIX} or a folder {_INDEX_SUFFIX}.")
    job = open_job(folder)
    found = status_of(job)
    if found.to_do and not partial:
        raise UsageError(
            f"{folder}: {found.to_do} tracks are still to do. Finish with muqrt catalogue run "
            f"{folder}, or export what there is with --partial."
        )
    with progress("Exporting", found.done) as bar:
        rows = writers[suffix](job, where, lambda tracks: bar.advance(steps=tracks))
    failed = sum(found.failed.values())
    facts = {"output": output, "rows": rows, "failed": failed, "to_do": found.to_do}
    show(as_json, facts, f"{output}: {rows} tracks; {failed} failed and {found.to_do} to do")
