"""Every command and snippet of the README runs, in order, as a new user would run them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, flags=re.DOTALL)
# The released weights cannot be had offline; a tiny checkpoint of the same format stands in.
RELEASED = "OpenMuQ/MuQ-large-msd-iter"
SHIPPED = "reference/checkpoints"


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, music: Path
) -> Iterator[Path]:
    """A folder with what the README's user has: a song, some music, a checkpoint."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(music / "greensleeves_duo.flac", folder / "song.flac")
    shutil.copytree(music, folder / "music")
    shutil.copytree(tiny_checkpoint, folder / RELEASED)
    shutil.copytree(ROOT / SHIPPED, folder / SHIPPED)
    yield folder


def run(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command, comments=True),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.server
def test_every_block_runs_in_order(desk: Path) -> None:
    server: subprocess.Popen[bytes] | None = None
    try:
        for language, block in BLOCKS:
            if language == "python":
                run(shlex.join([sys.executable, "-c", block]), desk)
                continue
            for command in block.strip().splitlines():
                if command.startswith("pip install"):
                    continue  # see test_every_extra_exists
                if command.startswith("muqrt serve"):
                    server = serve(command, desk)
                else:
                    run(command, desk)
    finally:
        if server is not None:
            server.terminate()
            server.wait()


def serve(command: str, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the server and return once it has said that it is ready."""
    arguments = [sys.executable, "-m", *shlex.split(command), "--json"]
    process = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline(), "the server did not start"
    return process


def test_every_extra_exists() -> None:
    extras = set(re.findall(r"pip install '\.\[(\w+)\]'", README))
    assert extras
    assert extras <= set(metadata("muqrt").get_all("Provides-Extra", []))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (\w+)", README))))
def test_every_make_target_exists(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
