"""``muqrt catalogue``: jobs over more tracks than one run takes."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...common.console import Json, clock, note, progress, show
from ...errors import UsageError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..damage import DamageOptions
from ..embed import Window
from ..ending import at_its_own_pace
from ..options import AUTO, ArtefactName, Nice, Threads, place_option, thread_count
from ..parameters import expand_options

if TYPE_CHECKING:
    from ...catalogue.job import Job
    from ...catalogue.local import LocalWorkers
    from ...catalogue.partition import Partition
    from ...catalogue.ray.workers import RayWorkers
    from ...catalogue.workers import Summary, Workers

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")
_SKIPPED_SHOWN = 10

JobFolder = Annotated[
    str, typer.Argument(metavar="JOB", help="Folder of the job: a path, or an address as s3://...")
]
_INDEX_SUFFIX, _TABLE_SUFFIX = ".lance", ".parquet"

commands = typer.Typer()


@commands.command()
@expand_options
def plan(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, globs, audio files, or .parquet and .csv lists of them: paths here, "
            "s3://, gs:// or http:// addresses.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="JOB", help="Folder of the new job.")
    ],
    *,
    outputs: Annotated[
        str,
        typer.Option(
            help="What to compute, comma-separated: embedding, tags, tokens, latents.",
        ),
    ] = "embedding",
    column: Annotated[
        str | None,
        typer.Option(help="Column of a list with the tracks; audio, key, path or url by default."),
    ] = None,
    partition_tracks: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Tracks that are computed together: what a process that dies has to repeat.",
        ),
    ] = 64,
    bundle: Annotated[
        str,
        place_option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            show_default=False,
            help="Bundle folder, or hf://USER/NAME on the hub; muq-mini's, which comes with muqrt, "
            "by default.",
        ),
    ] = str(SHIPPED_BUNDLE),
    artefact: ArtefactName = None,
    damage: DamageOptions,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Write a job: which tracks, what to compute, and with which model.

    Nothing is computed yet, and no audio is read.
    """
    from ...catalogue.job import bundle_of, plan_job, recipe_of
    from ...catalogue.manifest import find_keys
    from ...runtime.inference.windows import window_length

    wanted = [each.strip() for each in outputs.split(",") if each.strip()]
    share = damage.damages.tolerance.most_lost_share
    recipe = recipe_of(bundle_of(bundle), wanted, artefact, window_length(window), share)
    with progress("Listing tracks", None):
        found = find_keys(sources, column)
    job = plan_job(output, bundle, recipe, found.keys, sources, partition_tracks)
    facts = {
        "job": job.folder.address,
        "tracks": len(found.keys),
        "partitions": len(job.partitions),
        "repeated": found.repeated,
        "skipped": found.skipped,
    }
    for each in found.skipped[:_SKIPPED_SHOWN]:
        note(f"{each}: skipped; no reader here decodes it, or its name is no text.")
    if (more := len(found.skipped) - _SKIPPED_SHOWN) > 0:
        note(f"{more} more files skipped; --json lists them.")
    show(
        as_json,
        facts,
        f"{facts['job']}: {facts['tracks']} tracks in {facts['partitions']} partitions",
        f"{found.repeated} tracks were named more than once." if found.repeated else "",
        f"Next: muqrt catalogue run {output}",
    )


@commands.command()
@expand_options
def run(
    folder: JobFolder,
    *,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            show_default=False,
            help="Processes, each with a model: 1 by default, or as many as a Ray cluster has room "
            "for.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Compute on this Ray cluster: auto for the one of this machine, HOST:PORT, "
            "ray://HOST:PORT, or local for one that lasts as long as the command.",
        ),
    ] = None,
    num_gpus: Annotated[
        float,
        typer.Option(
            min=0, max=64, help="With --ray: GPUs for each process; 0.25 lets four share one."
        ),
    ] = 0,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="INDEX/COUNT",
            help="Compute only this share of the partitions: 0/64 to 63/64 on 64 machines.",
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        place_option(
            "--bundle", "-b", metavar="FOLDER", help="Where the job's bundle is on this machine."
        ),
    ] = None,
    threads: Threads = AUTO,
    nice: Nice = 0,
    loading_threads: Annotated[
        int,
        place_option(
            min=1, max=64, help="Threads of each process that fetch and decode tracks in advance."
        ),
    ] = 2,
    as_json: Json = False,
) -> None:
    """Compute what is not done yet.

    Ctrl-C ends after the partitions that are running; a second one at once. Either way the next
    run continues.
    """
    from ...catalogue.job import open_job

    if num_gpus and ray is None:
        raise UsageError("--num-gpus is for a Ray cluster: name it with --ray.")
    job = open_job(folder)
    partitions = _share(job.remaining(), job, shard)
    options = {"loading_threads": loading_threads, "bundle": bundle}
    pool: Workers
    if ray is None:
        pool = _local_workers(job, max(1, min(workers or 1, len(partitions))), threads, options)
    else:
        pool = _ray_workers(job, ray, workers, threads, num_gpus, options)
    summary, was_stopped = _run(pool, partitions)
    outcomes = summary.outcomes
    facts = {
        "tracks": sum(each.tracks for each in outcomes),
        "failed": sum(each.failed for each in outcomes),
        "again": sum(each.again for each in outcomes),
        "partitions": len(outcomes),
        "left": summary.left,
        "deaths": summary.deaths,
        "errors": [str(each) for each in summary.errors],
    }
    show(
        as_json,
        facts,
        f"{folder}: {facts['tracks']} tracks and {facts['failed']} that failed in "
        f"{facts['partitions']} partitions; {facts['left']} partitions left",
        f"{facts['deaths']} processes died; {facts['again']} tracks were begun again."
        if summary.deaths or facts["again"]
        else "",
    )
    if was_stopped:
        raise KeyboardInterrupt
    if summary.errors:
        raise summary.errors[0]


def _local_workers(job: "Job", count: int, threads: str, options: dict[str, Any]) -> "LocalWorkers":
    from ...catalogue.local import LocalWorkers

    return LocalWorkers(job, count, threads=_threads_each(threads, count), **options)


def _ray_workers(
    job: "Job",
    address: str,
    workers: int | None,
    threads: str,
    gpus: float,
    options: dict[str, Any],
) -> "RayWorkers":
    """On CPUs, models with one thread each unless more are asked for: that is the most a core
    gives. Beside a GPU, the cores decode."""
    from ...catalogue.ray.workers import RayWorkers

    if gpus:
        cpus, options = options["loading_threads"], {**options, "device": "cuda"}
    else:
        cpus = 1 if threads == AUTO else thread_count(threads) or 1
        options = {**options, "threads": cpus}
    return RayWorkers(job, address, workers, cpus, gpus, **options)


def _run(workers: "Workers", partitions: "list[Partition]") -> "tuple[Summary, bool]":
    def stopping(running: int) -> None:
        note(f"ends after {running} running partitions; Ctrl-C again ends at once.")

    tracks = sum(each.tracks for each in partitions)
    with at_its_own_pace(), workers as pool, progress("Computing", tracks) as bar:
        return pool.run(partitions, bar.advance, stopping), pool.was_stopped


def _share(partitions: "list[Partition]", job: "Job", given: str | None) -> "list[Partition]":
    """Those of the partitions that belong to a shard; its share does not depend on what is done."""
    if given is None:
        return partitions
    from ...catalogue.partition import shard

    found = _SHARD.fullmatch(given)
    if found is None or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard {given!r}: give INDEX/COUNT, such as 0/64 to 63/64.")
    names = {each.name for each in shard(job.partitions, int(found[1]), int(found[2]))}
    return [each for each in partitions if each.name in names]


def _threads_each(threads: str, workers: int) -> int | None:
    """The engine's threads in each of several processes: together they have all cores."""
    if threads != AUTO or workers == 1:
        return thread_count(threads)
    from ...runtime.engines.cpus import considerate_threads, given_cpus, physical_cores

    return max(1, (considerate_threads() or given_cpus() or physical_cores()) // workers)


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
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.parquet|FOLDER.lance",
            help="One Parquet file, or an index that muqrt search --index takes.",
        ),
    ],
    *,
    partial: Annotated[
        bool, typer.Option("--partial", help="Export what is done, though the job is not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write all results as one file or index, after checking that every track is there once."""
    from ...catalogue.export import export_index, export_parquet
    from ...catalogue.job import open_job
    from ...catalogue.status import status_of

    writers = {_TABLE_SUFFIX: export_parquet, _INDEX_SUFFIX: export_index}
    if output.suffix not in writers:
        raise UsageError(f"{output}: name a file {_TABLE_SUFFIX} or a folder {_INDEX_SUFFIX}.")
    job = open_job(folder)
    found = status_of(job)
    if found.to_do and not partial:
        raise UsageError(
            f"{folder}: {found.to_do} tracks are still to do. Finish with muqrt catalogue run "
            f"{folder}, or export what there is with --partial."
        )
    with progress("Exporting", found.done) as bar:
        rows = writers[output.suffix](job, output, lambda tracks: bar.advance(steps=tracks))
    failed = sum(found.failed.values())
    facts = {"output": str(output), "rows": rows, "failed": failed, "to_do": found.to_do}
    show(as_json, facts, f"{output}: {rows} tracks; {failed} failed and {found.to_do} to do")
