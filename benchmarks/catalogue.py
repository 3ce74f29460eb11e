"""What a job over a catalogue costs beside the model: planning, resuming, and each track.

Planning and resuming are each measured in a process of its own, with its peak memory.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..catalogue.job import open_job
from ..catalogue.manifest import find_keys
from ..catalogue.planning import plan_job, recipe_of
from ..catalogue.worker import Worker
from ..common.process.fresh import fresh_process
from ..common.process.resident import peak_rss_bytes
from ..runtime.bundle.manifest import load_bundle
from ..runtime.bundle.shipped import SHIPPED_BUNDLE
from ..runtime.load import load
from .measure.report import Report, Section
from .measure.timing import spread

_OUTPUTS = ["embedding"]
_MEASURED = ("seconds", "processor_seconds", "peak_bytes")


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

    def results(self) -> list[Section]:
        """Two tables."""
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


def measure(tracks: int, audio: Path, rounds: int, on_step: Callable[[], None]) -> CatalogueReport:
    """Plan and resume a job of so many tracks, and compute a small one.

    Args:
        tracks: how many, by name only.
        audio: folder of the files that are computed.
        rounds: how often.
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
    return CatalogueReport(
        tracks=tracks,
        partitions=len(partitions),
        **{f"plan_{name}": planned[name] for name in _MEASURED},
        **{f"resume_{name}": resumed[name] for name in _MEASURED},
        audio_files=len(find_keys([str(audio)]).keys),
        embed_seconds=embed_seconds,
        job_seconds=job_seconds,
    )


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
