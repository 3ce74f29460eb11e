"""Whole jobs on local processes that are killed: every track once, and the numbers of embed."""

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from muqrt.runtime.load import load

from ..until import until
from .conftest import (
    BAD,
    DECODED,
    GOOD,
    PARTITION_TRACKS,
    POISON,
    Muqrt,
    has_begun,
    kill,
    worker_pids,
)

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

pytestmark = [pytest.mark.full, pytest.mark.slow]
WORKERS = 2


@pytest.fixture(scope="module")
def expected(catalogue: Path) -> dict[str, np.ndarray]:
    return embeddings(catalogue)


def embeddings(folder: Path) -> dict[str, np.ndarray]:
    """Every good track's embedding by the model on one thread."""
    good = sorted(str(each) for each in folder.glob("[0-9][0-9].flac"))
    with load(threads=1) as model:
        found = dict(model.embed_files(good))
    return {str(key): value for key, value in found.items() if isinstance(value, np.ndarray)}


def done(process: "subprocess.Popen[str]") -> dict[str, object]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out)


def planned(start: Muqrt, catalogue: Path, job: Path) -> None:
    words = ["plan", catalogue, "-o", job, "--partition-tracks", PARTITION_TRACKS, "--json"]
    assert done(start(words))["tracks"] == GOOD + BAD + 1


def check(start: Muqrt, job: object, tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    """Every key once, the good ones with the numbers of embed, the others with their reasons."""
    found = done(start(["export", job, "-o", tmp_path / "all.parquet", "--json"]))
    assert (found["rows"], found["failed"]) == (GOOD, BAD + 1)
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["key"] for row in rows] == list(expected)
    for row in rows:
        assert np.array_equal(np.float32(row["embedding"]), expected[row["key"]]), row["key"]
    lines = (tmp_path / "all.failed.jsonl").read_text().splitlines()
    failed = [json.loads(line) for line in lines]
    assert Counter(each["kind"] for each in failed) == {"audio": BAD, "died": 1}
    (died,) = (each for each in failed if each["kind"] == "died")
    assert died["key"].endswith(POISON)
    assert died["attempts"] == 3


def run(job: object) -> list[object]:
    return ["run", job, "--workers", WORKERS, "--threads", 1, "--json"]


def test_a_worker_is_killed(
    catalogue: Path, start: Muqrt, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    job = tmp_path / "job"
    planned(start, catalogue, job)
    running = start(run(job))
    until(lambda: has_begun(job, "notes"))
    kill(worker_pids(running.pid)[0])
    facts = done(running)
    assert (facts["left"], facts["failed"]) == (0, BAD + 1)
    assert facts["deaths"] in (3, 4)  # the poisoned track's, and ours if it was not one of them
    assert facts["again"] <= 2 * PARTITION_TRACKS  # of the killed one's and the poisoned partition
    check(start, job, tmp_path, expected)


def test_a_poisoned_track_has_one_partition_computed_twice(
    catalogue: Path, start: Muqrt, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Though its process dies three times, none of its neighbours is computed a third time."""
    job, decoded = tmp_path / "job", tmp_path / "decoded"
    environment[DECODED] = str(decoded)
    planned(start, catalogue, job)
    assert done(start(run(job)))["deaths"] == 3
    times = Counter(decoded.read_text().splitlines())
    (poison,) = (path for path in times if path.endswith(POISON))
    assert times.pop(poison) == 3
    assert len(times) == GOOD + BAD and max(times.values()) == 2
    assert sum(count == 2 for count in times.values()) < PARTITION_TRACKS


def test_the_driver_is_killed(
    catalogue: Path, start: Muqrt, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    job = tmp_path / "job"
    planned(start, catalogue, job)
    running = start(run(job))
    until(lambda: has_begun(job, "parts"))
    workers = worker_pids(running.pid)
    kill(running.pid)
    running.communicate()
    until(lambda: not any(Path(f"/proc/{each}").exists() for each in workers))
    before = {path: path.stat().st_mtime_ns for path in (job / "parts").glob("*.parquet")}
    facts = done(start(run(job)))
    assert facts["left"] == 0
    assert facts["again"] <= (WORKERS + 1) * PARTITION_TRACKS
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    check(start, job, tmp_path, expected)


def test_ctrl_c_ends_after_the_running_parts(
    catalogue: Path, start: Muqrt, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    job = tmp_path / "job"
    planned(start, catalogue, job)
    running = start(run(job))
    until(lambda: has_begun(job, "notes"))
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=600)
    assert running.returncode == 130, err
    assert "Ctrl-C again ends at once" in err
    facts = json.loads(out)
    assert facts["partitions"] == len(list((job / "parts").glob("*.parquet")))
    assert not any((job / "notes").glob("*/*"))
    assert done(start(run(job)))["left"] == 0
    check(start, job, tmp_path, expected)


def test_shards_of_several_machines(
    catalogue: Path, start: Muqrt, tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    job = tmp_path / "job"
    planned(start, catalogue, job)
    running = [start(["run", job, "--shard", f"{n}/2", "--threads", 1, "--json"]) for n in range(2)]
    assert [done(each)["left"] for each in running] == [0, 0]
    check(start, job, tmp_path, expected)
