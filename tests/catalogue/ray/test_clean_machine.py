"""``pip install 'muqrt[ray]'`` on a clean machine, and the first commands of the how-to."""

import json
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from ...test_wheel import ROOT, wheel

__all__ = ["wheel"]

pytestmark = [pytest.mark.full, pytest.mark.slow]
COMMANDS = 3
NO_NETWORK = ("Failed to establish", "Temporary failure in name resolution", "No matching")


def how_to() -> list[str]:
    """The commands of its first block."""
    text = (ROOT / "docs" / "how-to" / "catalogue.md").read_text()
    return text.split("```sh\n", 1)[1].split("```", 1)[0].splitlines()


def test_pip_install_and_the_first_commands(wheel: Path, music: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    venv.create(clean, with_pip=True)
    pip = [clean / "bin" / "python", "-m", "pip", "install", "-q", f"{wheel}[ray]"]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode != 0 and any(each in installed.stderr for each in NO_NETWORK):
        pytest.skip("no package index can be reached, or it has no Ray for this platform")
    assert installed.returncode == 0, installed.stderr
    shutil.copytree(music, tmp_path / "music")
    commands = how_to()[:COMMANDS]
    assert [each.split()[2] for each in commands] == ["plan", "run", "status"]
    environment = {"PATH": f"{clean / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    for command in (*commands, "python -c 'import ray, muqrt; muqrt.ray.Embedder'"):
        done = subprocess.run(["sh", "-c", command], **options)
        assert done.returncode == 0, done.stderr
    status = subprocess.run(["sh", "-c", f"{commands[-1]} --json"], **options)
    found = json.loads(status.stdout)
    assert (found["done"] > 0, found["failed"], found["to_do"]) == (True, {}, 0)
