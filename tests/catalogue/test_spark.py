"""A job on a local Spark, whose Python workers die of a poisoned track."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from .conftest import PARTITION_TRACKS, Muqrt
from .test_survival import check, done, embeddings

pytestmark = [pytest.mark.full, pytest.mark.slow]

# Spark's own address would be the network interface's.
_PROGRAM = """
import json, sys
from dataclasses import asdict
from pyspark.sql import SparkSession
from muqrt.catalogue.job import open_job
from muqrt.catalogue.spark import run_on_spark

builder = SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
builder = builder.config("spark.driver.host", "127.0.0.1")
session = builder.getOrCreate()
outcomes = run_on_spark(session, open_job(sys.argv[1]), threads=1)
print(json.dumps([asdict(each) for each in outcomes]))
session.stop()
"""


@pytest.mark.skipif(find_spec("pyspark") is None, reason="pyspark is not installed")
@pytest.mark.skipif(which("java") is None, reason="Java is not installed")
def test_a_job_on_spark(
    catalogue: Path, start: Muqrt, environment: dict[str, str], tmp_path: Path
) -> None:
    job = tmp_path / "job"
    words = ["plan", catalogue, "-o", job, "--partition-tracks", PARTITION_TRACKS, "--json"]
    partitions = done(start(words))["partitions"]
    command = [sys.executable, "-c", _PROGRAM, str(job)]
    settings = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    run = subprocess.run(command, env=environment | settings, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    outcomes = json.loads(run.stdout.splitlines()[-1])
    assert len(outcomes) == partitions
    assert sum(each["again"] for each in outcomes) <= PARTITION_TRACKS
    check(start, job, tmp_path, embeddings(catalogue))
