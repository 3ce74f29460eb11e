"""``muqrt catalogue run``."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...common.console import Json, note, progress, show
from ...errors import UsageError
from ..ending import at_its_own_pace
from ..options import AUTO, Nice, Threads, place_option, thread_count
from ..parameters import expand_options
from .options import JobFolder

if TYPE_CHECKING:
    from ...catalogue.job import Job
    from ...catalogue.local import LocalWorkers
    from ...catalogue.partition import Partition
    from ...catalogue.ray.workers import RayWorkers
    from ...catalogue.workers import Summary, Workers

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")

commands = typer.Typer()


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
