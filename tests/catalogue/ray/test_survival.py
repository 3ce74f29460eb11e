"""Whole jobs on a Ray cluster that loses a worker, a node or its driver."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

from ..conftest import BAD, PARTITION_TRACKS, has_begun, kill
from ..test_survival import check, done, expected, planned
from .conftest import Cluster

__all__ = ["expected"]

pytestmark = [pytest.mark.full, pytest.mark.slow]
NODES = 2
DEATHS_OF_POISON = 3
Expected = dict[str, np.ndarray]


def run(job: Path, cluster: Cluster) -> list[object]:
    return ["run", job, "--ray", cluster.address, "--json"]


def until(condition: Callable[[], object], running: "subprocess.Popen[str] | None" = None) -> None:
    """Wait, however long it takes, as long as the driver runs."""
    while not condition():
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.01)


def test_a_worker_is_killed(
    catalogue: Path, cluster: Cluster, tmp_path: Path, expected: Expected
) -> None:
    """The poisoned track kills three more."""
    job = tmp_path / "job"
    planned(cluster.start, catalogue, job)
    running = cluster.start(run(job, cluster))
    until(lambda: has_begun(job, "notes"), running)
    kill(cluster.actors()[0])
    facts = done(running)
    assert (facts["left"], facts["failed"]) == (0, BAD + 1)
    assert facts["deaths"] in (DEATHS_OF_POISON, DEATHS_OF_POISON + 1)
    assert facts["again"] <= 2 * PARTITION_TRACKS
    check(cluster.start, job, tmp_path, expected)


def test_a_node_is_lost(
    catalogue: Path, cluster: Cluster, tmp_path: Path, expected: Expected
) -> None:
    job = tmp_path / "job"
    planned(cluster.start, catalogue, job)
    running = cluster.start(run(job, cluster))
    until(lambda: has_begun(job, "notes") and cluster.actors(cluster.raylets[1]), running)
    kill(cluster.raylets[1])
    facts = done(running)
    assert (facts["left"], facts["failed"]) == (0, BAD + 1)
    assert facts["again"] <= 2 * PARTITION_TRACKS
    check(cluster.start, job, tmp_path, expected)


def test_the_driver_is_killed(
    catalogue: Path, cluster: Cluster, tmp_path: Path, expected: Expected
) -> None:
    job = tmp_path / "job"
    planned(cluster.start, catalogue, job)
    running = cluster.start(run(job, cluster))
    until(lambda: has_begun(job, "parts"), running)
    kill(running.pid)
    running.communicate()
    until(lambda: not cluster.actors())
    before = {path: path.stat().st_mtime_ns for path in (job / "parts").glob("*.parquet")}
    facts = done(cluster.start(run(job, cluster)))
    assert facts["left"] == 0
    assert facts["again"] <= (NODES + 1) * PARTITION_TRACKS
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    check(cluster.start, job, tmp_path, expected)
