"""What a job over a catalogue costs beside the model: planning, resuming, and each track.

Planning and resuming are each measured in a process of its own, with its peak memory; Ray against a
plain process, each with one worker of one thread, once that worker is under way.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..catalogue.job import Job, open_job
from ..catalogue.local import LocalWorkers
from ..catalogue.manifest import find_keys
from ..catalogue.planning import plan_job, recipe_of
from ..catalogue.ray.workers import RayWorkers
from ..catalogue.worker import Worker
from ..catalogue.workers import Workers
from ..common.process.fresh import fresh_process
from ..common.process.resident import peak_rss_bytes
from ..runtime.bundle.manifest import load_bundle
from ..runtime.bundle.shipped import SHIPPED_BUNDLE
from ..runtime.load import load
from .measure.report import Report, Section
from .measure.timing import spread

_OUTPUTS = ["embedding"]
_PLAIN = "plain"
_COPIES, _RAY_ROUNDS, _RAY_PARTITION_TRACKS = 12, 3, 4
_MEASURED = ("seconds", "processor_seconds", "peak_bytes")


@dataclass(frozen=True)
class EngineRun:
    """A run of a job by one worker.

    Attributes:
        start_seconds: until the first partition was done, less what a later one takes.
        track_seconds: of each track after it.
    """

    start_seconds: float
    track_seconds: float


@dataclass(frozen=True, kw_only=True)
class CatalogueReport(Report):
    """The figures.

    Attributes:
        tracks, partitions: of the job that is planned and resumed.
        plan_seconds, plan_processor_seconds, plan_peak_bytes: from a Parquet list to a job, the
            same in processor time, and the process's memory.
        resume_seconds, resume_processor_seconds, resume_peak_bytes: from a job of which every
            second partition is done to what is left.
        audio_files: of the job that is computed.
        embed_seconds, job_seconds: processor time of one thread for these, by ``Model.embed_files``
            and by a worker, one a round, by turns.
        engines: "plain" and "ray", if Ray was asked for: each one's runs, by turns.
    """

    tracks: int
    partitions: int
    plan_seconds: float
    plan_processor_seconds: float
    plan_peak_bytes: int
    resume_seconds: float
    resume_processor_seconds: float
    resume_peak_bytes: int
    audio_files: int
    embed_seconds: list[float]
    job_seconds: list[float]
    engines: dict[str, list[EngineRun]] = field(default_factory=dict)

    def results(self) -> list[Section]:
        """Two tables; a third where there are engines."""
        return [*self._costs(), *([self._engines()] if self.engines else [])]

    def _engines(self) -> Section:
        track = {
            name: spread([each.track_seconds for each in runs]).median
            for name, runs in self.engines.items()
        }
        rows = []
        for name, runs in self.engines.items():
            start = spread([each.start_seconds for each in runs]).median
            more = "" if name == _PLAIN else f"{track[name] / track[_PLAIN] - 1:.1%}"
            rows.append([name, f"{start:.1f}", f"{track[name] * 1e3:.1f}", more])
        return Section(
            f"One worker of one thread, {len(self.engines[_PLAIN])} runs each",
            ("engine", "start, s", "then, ms a track", "more than plain"),
            rows,
        )

    def _costs(self) -> list[Section]:
        embed, job = spread(self.embed_seconds).median, spread(self.job_seconds).median
        return [
            Section(
                f"A job of {self.tracks} tracks in {self.partitions} partitions",
                ("step", "seconds", "processor, s", "peak memory, MB"),
                [
                    [
                        "planned",
                        f"{self.plan_seconds:.2f}",
                        f"{self.plan_processor_seconds:.2f}",
                        f"{self.plan_peak_bytes / 1e6:.0f}",
                    ],
                    [
                        "resumed, half done",
                        f"{self.resume_seconds:.2f}",
                        f"{self.resume_processor_seconds:.2f}",
                        f"{self.resume_peak_bytes / 1e6:.0f}",
                    ],
                ],
            ),
            Section(
                f"Embedding {self.audio_files} short files with muq-mini, one thread",
                ("by", "processor, ms a file", "more than embed_files"),
                [
                    ["Model.embed_files", f"{embed / self.audio_files * 1e3:.1f}", ""],
                    [
                        "a worker of a job",
                        f"{job / self.audio_files * 1e3:.1f}",
                        f"{job / embed - 1:.1%}",
                    ],
                ],
            ),
        ]


def measure(
    tracks: int, audio: Path, rounds: int, with_ray: bool, on_step: Callable[[], None]
) -> CatalogueReport:
    """Plan and resume a job of so many tracks, and compute a small one.

    Args:
        tracks: how many, by name only.
        audio: folder of the files that are computed.
        rounds: how often.
        with_ray: whether a job is computed by Ray too, on a cluster that is started for it.
        on_step: called after each of the two jobs and each round.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        listed, job = home / "list.parquet", home / "job"
        _write_list(listed, tracks)
        module = f"{__package__}.catalogue"
        _, planned = fresh_process(module, "planning", {"plan": str(listed), "job": str(job)})
        on_step()
        partitions = open_job(job).partitions
        (job / "parts").mkdir()
        for each in partitions[::2]:
            (job / "parts" / f"{each.name}.parquet").touch()
        _, resumed = fresh_process(module, "resuming", {"job": str(job)})
        on_step()
        assert resumed["left"] == len(partitions) // 2
        embed_seconds, job_seconds = _overhead(audio, home, rounds, on_step)
        engines = _engines(audio, home) if with_ray else {}
    return CatalogueReport(
        tracks=tracks,
        partitions=len(partitions),
        **{f"plan_{name}": planned[name] for name in _MEASURED},
        **{f"resume_{name}": resumed[name] for name in _MEASURED},
        audio_files=len(find_keys([str(audio)]).keys),
        embed_seconds=embed_seconds,
        job_seconds=job_seconds,
        engines=engines,
    )


def _engines(audio: Path, home: Path) -> dict[str, list[EngineRun]]:
    """A plain process and Ray on the same job, of copies of the audio, by turns."""
    copies = home / "copies"
    for number in range(_COPIES):
        shutil.copytree(audio, copies / str(number))
    keys = find_keys([str(copies)]).keys
    recipe = recipe_of(load_bundle(SHIPPED_BUNDLE), _OUTPUTS)
    engines: dict[str, Callable[[Job], Workers]] = {
        _PLAIN: lambda job: LocalWorkers(job, 1, threads=1),
        "ray": lambda job: RayWorkers(job, "local", 1, threads=1),
    }
    found: dict[str, list[EngineRun]] = {name: [] for name in engines}
    for number in range(_RAY_ROUNDS):
        for name, engine in engines.items():
            where = home / f"{name} {number}"
            job = plan_job(where, SHIPPED_BUNDLE, recipe, keys, (), _RAY_PARTITION_TRACKS)
            found[name].append(_run(engine, job))
    return found


def _run(engine: Callable[[Job], Workers], job: Job) -> EngineRun:
    begin, ends = time.perf_counter(), list[float]()
    with engine(job) as workers:
        summary = workers.run(job.partitions, lambda: ends.append(time.perf_counter()))
    assert not summary.left and len(ends) == job.facts.tracks
    first = _RAY_PARTITION_TRACKS
    track = (ends[-1] - ends[first - 1]) / (len(ends) - first)
    return EngineRun(ends[first - 1] - begin - first * track, track)


def _write_list(path: Path, tracks: int) -> None:
    import pyarrow
    from pyarrow import parquet

    place = "s3://music/library"
    names = [f"{place}/album {n // 12:07}/{n % 12 + 1:02} a track.flac" for n in range(tracks)]
    parquet.write_table(pyarrow.table({"audio": names}), path)


def _overhead(
    audio: Path, home: Path, rounds: int, on_step: Callable[[], None]
) -> tuple[list[float], list[float]]:
    """Processor time for the same files by ``Model.embed_files`` and by a worker, by turns."""
    keys = find_keys([str(audio)]).keys
    recipe = recipe_of(load_bundle(SHIPPED_BUNDLE), _OUTPUTS)
    embed_seconds, job_seconds = [], []
    first = plan_job(home / "first", SHIPPED_BUNDLE, recipe, keys)
    with load(threads=1) as model, Worker(first, 1) as worker:
        for number in range(rounds + 1):
            start = time.process_time()
            list(model.embed_files(keys))
            middle = time.process_time()
            worker.run(first.partitions[0])
            end = time.process_time()
            shutil.rmtree(home / "first" / "parts")
            on_step()
            if number:  # the first is for warming up
                embed_seconds.append(middle - start)
                job_seconds.append(end - middle)
    return embed_seconds, job_seconds


def _step(request: dict[str, str]) -> dict[str, float]:
    start, start_processor = time.perf_counter(), time.process_time()
    found: dict[str, float] = {}
    if "plan" in request:
        recipe = recipe_of(load_bundle(SHIPPED_BUNDLE), _OUTPUTS)
        plan_job(request["job"], SHIPPED_BUNDLE, recipe, find_keys([request["plan"]]).keys)
    else:
        found["left"] = len(open_job(request["job"]).remaining())
    found["seconds"] = time.perf_counter() - start
    found["processor_seconds"] = time.process_time() - start_processor
    return found | {"peak_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    print(json.dumps(_step(json.loads(sys.argv[1]))))
