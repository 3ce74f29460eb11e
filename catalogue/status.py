"""How far a job is, by a listing of its folder, and its failed tracks."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import UsageError
from .job import MANIFESTS, PARTS, Job
from .loading import FailedTrack
from .part import failures
from .planning import add_manifest

_FILES_AT_ONCE = 16
# The rate is that of the newest parts: machines come and go.
_RATED_PARTS = 100


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes:
        tracks: how many it has.
        done: how many have results.
        failed: how many could not be used, by kind.
        to_do: how many are left.
        partitions, partitions_done: the same in partitions.
        tracks_per_hour: how fast the newest parts came; None before there are two.
        seconds_left: how long the rest takes at that rate.
    """

    tracks: int
    done: int
    failed: dict[str, int]
    to_do: int
    partitions: int
    partitions_done: int
    tracks_per_hour: float | None
    seconds_left: float | None


def status_of(job: Job) -> Status:
    """How far a job is."""
    done = job.done()
    failed = Counter(each.kind for each in failed_tracks(job).values())
    to_do = sum(each.tracks for each in job.partitions if each.name not in done)
    times = sorted((done[each.name], each.tracks) for each in job.partitions if each.name in done)
    newest, rate = times[-_RATED_PARTS:], None
    if newest and newest[-1][0] > newest[0][0]:
        seconds = newest[-1][0] - newest[0][0]
        rate = sum(tracks for _, tracks in newest[1:]) / seconds * 3600
    return Status(
        job.facts.tracks,
        job.facts.tracks - to_do - failed.total(),
        dict(failed.most_common()),
        to_do,
        len(job.partitions),
        len(times),
        rate,
        to_do / rate * 3600 if rate else None,
    )


def failed_tracks(job: Job) -> dict[str, FailedTrack]:
    """The tracks that failed when they were tried last and are not to be tried again, by key."""
    files = job.folder.names(PARTS)
    found: dict[str, FailedTrack] = {}
    failing = [
        each
        for each in job.partitions
        if f"{each.name}.jsonl" in files and f"{each.name}.parquet" in files
    ]
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        read = pool.map(lambda each: failures(job.folder, each.name), failing)
        by_manifest: dict[str, list[FailedTrack]] = {}
        for partition, failed in zip(failing, read, strict=True):
            by_manifest.setdefault(partition.manifest, []).extend(failed)
    for number, manifest in enumerate(job.manifests):
        if number:
            for key in job.manifest_keys(manifest):
                found.pop(key, None)
        found.update({each.key: each for each in by_manifest.get(manifest, [])})
    return found


def retry_failed(job: Job, kinds: frozenset[str] | None = None) -> int:
    """Add the failed tracks to what is to do, those of some kinds or all; returns how many.

    Raises:
        UsageError: another process is doing the same.
    """
    keys = [key for key, each in failed_tracks(job).items() if kinds is None or each.kind in kinds]
    if keys:
        size = max(each.tracks for each in job.partitions)
        number = len(job.manifests) + 1
        try:
            add_manifest(job.folder, job.recipe, number, keys, size)
        except FileExistsError:
            raise UsageError(
                f"{job.folder.file(MANIFESTS)}: another process has just added tracks to be tried "
                "again. Look at muqrt catalogue status."
            ) from None
    return len(keys)
