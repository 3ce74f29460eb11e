"""A catalogue with all that goes wrong in one: bad files, and a track that kills its process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

GOOD, BAD = 58, 5
PARTITION_TRACKS = 8
POISON = "poison.flac"
DECODED = "MUQRT_TEST_DECODED"
# Python runs this first in every process of the test: what decodes the poisoned track dies. A file
# lists all that is decoded.
_POISONER = f"""
import os, signal
from muqrt.catalogue import loading

stream = loading.stream

def poisoned(path, *options):
    if "{DECODED}" in os.environ:
        with open(os.environ["{DECODED}"], "a") as listed:
            listed.write(str(path) + "\\n")
    if open(path, "rb").read().endswith(b"{POISON}"):
        os.kill(os.getpid(), signal.SIGKILL)
    return stream(path, *options)

loading.stream = poisoned
"""


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 64 tracks: 58 good, 5 bad, and one in the middle that kills its process."""
    folder, generator = tmp_path_factory.mktemp("catalogue"), np.random.default_rng(0)
    for number in range(GOOD):
        samples = generator.uniform(-0.3, 0.3, 24_000 + 1_200 * number)
        soundfile.write(folder / f"{number:02}.flac", samples, 24_000)
    whole = (folder / "57.flac").read_bytes()
    (folder / "bad empty.flac").write_bytes(b"")
    (folder / "bad text.flac").write_bytes(b"no audio" * 1000)
    (folder / "bad cut.flac").write_bytes(whole[: len(whole) // 3])
    soundfile.write(folder / "bad short.wav", np.full(100, 0.1), 24_000)
    soundfile.write(folder / "bad nan.wav", np.full(24_000, np.nan), 24_000, subtype="FLOAT")
    (folder / f"30 {POISON}").write_bytes(whole + POISON.encode())
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of processes in which the poisoned track kills."""
    folder = tmp_path / "poison"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_POISONER)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


Muqrt = Callable[[Sequence[object]], "subprocess.Popen[str]"]


@pytest.fixture
def start(environment: dict[str, str]) -> Muqrt:
    """Starts ``muqrt catalogue`` in a process of its own."""

    def started(words: Sequence[object]) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "muqrt", "catalogue", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    return started


def worker_pids(driver: int) -> list[int]:
    """The workers that a driver has started."""
    children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in _command(int(each))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def has_begun(job: Path, kind: str) -> bool:
    """Whether a job on this machine has any notes or any parts."""
    return any((job / kind).glob("*/*" if kind == "notes" else "*.parquet"))


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
