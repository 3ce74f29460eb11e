"""A signal ends every command within two seconds, without a traceback or anything half-written."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

WITHIN_SECONDS = 2.0 + 1.0  # for a busy machine

# A call that no exception interrupts, in the main thread or in one that is waited for.
BUSY = """
import hashlib, sys, threading, time
from pathlib import Path
from muqrt.cli.ending import ended_by_signals
from muqrt.common.files import atomic_folder

def work():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

with ended_by_signals(), atomic_folder(Path(sys.argv[2]) / "bundle"):
    print(flush=True)
    if sys.argv[1] == "thread":
        threading.Thread(target=work).start()
        time.sleep(60)
    work()
"""


def ended(process: "subprocess.Popen[bytes]", number: int) -> float:
    """Seconds from the signal to the end."""
    began = time.monotonic()
    process.send_signal(number)
    try:
        process.wait(30)
    finally:
        process.kill()
    return time.monotonic() - began


@pytest.mark.parametrize("where", ["main", "thread"])
def test_whatever_it_is_in_the_midst_of(where: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUSY, where, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    assert ended(process, signal.SIGTERM if where == "main" else signal.SIGINT) < WITHIN_SECONDS
    assert process.returncode in (1, 130, -signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
    process.communicate()


def commands(folder: Path, checkpoint: Path, bundle: Path, head_bundle: Path) -> dict[str, list]:
    song, out = folder / "long.wav", folder / "out"
    return {
        "export": ["export", checkpoint, "-o", out],
        "build": ["build", bundle, "--checkpoint", checkpoint, "--precision", "fp16"],
        "parity": ["parity", bundle, "--checkpoint", checkpoint],
        "embed": ["embed", song, "-b", bundle, "-o", out],
        "tag": ["tag", song, "-b", head_bundle],
        "stream": ["stream", song, "-b", head_bundle],
        "bench": ["bench", "model", bundle, "--checkpoint", checkpoint],
        "rvq": ["train", "rvq", folder, "-o", out, "--size", "tiny", "--steps", "9999"],
        "synth-corpus": ["synth-corpus", "-o", out],
    }


def check(folder: Path, arguments: Sequence[object], after_seconds: float, number: int) -> None:
    before = {path.name for path in folder.iterdir()}
    command = [sys.executable, "-m", "muqrt", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(after_seconds)  # it is still at work
    assert ended(process, number) < WITHIN_SECONDS
    error = process.communicate()[1].decode()
    assert "Traceback" not in error
    assert process.returncode in (0, 130), error
    left = {path.name for path in folder.rglob("*") if path.name.endswith(".muqrt-partial")}
    assert not left and {path.name for path in folder.iterdir()} <= before | {"out"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", generator.uniform(-0.1, 0.1, 24_000 * 1200), 24_000)
    return tmp_path


def test_an_export(folder: Path, tiny_checkpoint: Path) -> None:
    check(folder, ["export", tiny_checkpoint, "-o", folder / "out"], 4.0, signal.SIGTERM)


@pytest.mark.full
@pytest.mark.parametrize("after_seconds", [1.0, 3.0, 6.0])
@pytest.mark.parametrize(
    "name", ["export", "build", "parity", "embed", "tag", "stream", "bench", "rvq", "synth-corpus"]
)
def test_every_command(
    folder: Path,
    tiny_checkpoint: Path,
    bundle_copy: Path,
    tagged_bundle: Path,
    name: str,
    after_seconds: float,
) -> None:
    arguments = commands(folder, tiny_checkpoint, bundle_copy, tagged_bundle)[name]
    check(folder, arguments, after_seconds, signal.SIGINT)
