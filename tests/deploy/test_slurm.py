"""The Slurm script: linted, and its tasks together compute a whole job."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def script(deploy: Path) -> Path:
    return deploy / "catalogue.slurm"


def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    program = shutil.which("shellcheck", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, "--norc", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.full
@pytest.mark.parametrize("first", [0, 5])
def test_the_tasks_compute_every_partition(script: Path, first: int, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("pyarrow")
    (tmp_path / "music").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / f"music/{number}.flac", np.full(12_000, 0.1), 24_000)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "muqrt").write_text(f'#!/bin/sh\nexec {sys.executable} -m muqrt "$@"\n')
    for each in programs.iterdir():
        each.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment |= {"SLURM_ARRAY_TASK_MIN": str(first), "SLURM_ARRAY_TASK_COUNT": "2"}
    environment |= {"SLURM_CPUS_PER_TASK": "1"}

    def run(*words: str, **more: str) -> str:
        command = [*words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | more, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("muqrt", "catalogue", "plan", "music", "-o", "job", "--partition-tracks", "1")
    for task in (first, first + 1):
        run("bash", str(script), "job", SLURM_ARRAY_TASK_ID=str(task))
        done = json.loads(run("muqrt", "catalogue", "status", "job", "--json"))["done"]
        assert done == 2 * (task - first + 1)
