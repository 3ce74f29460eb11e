"""The image: its linter's opinion, and that it fits the server and the wheel."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muqrt.cli.serve import serve
from muqrt.triton_repo.server.installation import find_server

# Of later servers than the 2.51 in the wheel.
LATER_OPTIONS = {"grpc-max-response-pool-size"}


def test_hadolint_finds_nothing(deploy: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; make setup installs it where it can")
    done = subprocess.run([hadolint, deploy / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.server
def test_every_option_is_known(server_arguments: dict[str, str]) -> None:
    server = find_server()
    environment = {**os.environ, **server.environment}
    asked = subprocess.run(
        [server.binary, "--help"], env=environment, capture_output=True, text=True
    )
    own = {name.replace("_", "-") for name in inspect.signature(serve).parameters}
    unknown = {name for name in server_arguments if f"--{name}" not in asked.stdout + asked.stderr}
    assert unknown - own <= LATER_OPTIONS
    assert not unknown & own & LATER_OPTIONS


def test_it_listens_to_everyone(server_arguments: dict[str, str]) -> None:
    # A loopback address could not be reached from outside the container.
    assert server_arguments["address"] == "0.0.0.0"
    assert server_arguments["allow-remote"] == ""


def test_it_runs_as_a_numbered_user(deploy: Path) -> None:
    lines = (deploy / "Dockerfile").read_text().splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 1000:1000"]


def test_the_build_context_has_the_wheel_and_no_more(deploy: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="part of Python 3.11 and later")
    project = tomllib.loads((deploy.parent / "pyproject.toml").read_text())
    packages = {path.parent.name for path in deploy.parent.glob("*/__init__.py")}
    data = set(project["tool"]["setuptools"]["package-data"]["muqrt"])
    ignored = (deploy / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "cli" in packages and "deploy" not in packages
    assert kept == packages | data | {"examples/audio"} | {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "*.py",
    }
