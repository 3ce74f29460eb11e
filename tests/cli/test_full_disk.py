"""A full disk: the file that was to be written is named, and nothing is left of it."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def run(*arguments: object, limit_bytes: int | None = None) -> str:
    """What the command says on stderr when it fails."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", "muqrt", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 3 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_model_repository(small_disk: Path, tiny_bundle: Path) -> None:
    said = run("repository", tiny_bundle, "-o", small_disk / "new" / "models")
    where = small_disk / "new" / "models" / "muq"
    assert said == f"muqrt: {where}: the disk is full; nothing was left half-written.\n"
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "command", ["random-checkpoint --size tiny", pytest.param("export", marks=pytest.mark.full)]
)
def test_files_that_may_not_grow(tmp_path: Path, tiny_checkpoint: Path, command: str) -> None:
    words: list[object] = [*command.split(), "-o", tmp_path / "new" / "out"]
    if command == "export":
        words.append(tiny_checkpoint)
    said = run(*words, limit_bytes=100_000)
    assert said.startswith(f"muqrt: {tmp_path / 'new' / 'out'}: the disk is full")
    assert list(tmp_path.iterdir()) == []
