"""The service and the container of ``muqrt watch``: valid, whole, and out of others' way."""

import re
import shlex
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from muqrt.cli.watch import watch

MOST_EXPOSED = 2.5  # of 10, by systemd's own measure


@pytest.fixture
def unit(deploy: Path, tmp_path: Path) -> Path:
    """The unit, with an executable that exists."""
    text = (deploy / "muqrt-watch.service").read_text()
    unit = tmp_path / "muqrt-watch.service"
    unit.write_text(text.replace("/opt/muqrt/bin/muqrt", sys.executable))
    return unit


def analyze(*arguments: object) -> "subprocess.CompletedProcess[str]":
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_systemd_takes_the_unit(unit: Path) -> None:
    done = analyze("verify", "--man=no", unit)
    assert "muqrt-watch" not in done.stderr, done.stderr


def test_the_unit_can_do_little_harm(unit: Path) -> None:
    done = analyze("security", "--offline=yes", "--no-pager", unit)
    (exposure,) = re.findall(
        r"Overall exposure level for \S+ ([\d.]+)", done.stdout.replace(":", "")
    )
    assert float(exposure) <= MOST_EXPOSED, done.stdout


@pytest.fixture
def service(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((deploy / "compose.watch.yaml").read_text())
    return found["services"]["watch"]


def image_words(deploy: Path) -> list[str]:
    text = (deploy / "Dockerfile.watch").read_text()
    lines = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)
    return [word for line in lines for word in yaml.safe_load(line)]


def test_every_option_exists(deploy: Path) -> None:
    (started,) = re.findall("^ExecStart=(.*)$", (deploy / "muqrt-watch.service").read_text(), re.M)
    known = {name.replace("_", "-") for name in signature(watch).parameters} | {"json"}
    for words in (shlex.split(started), image_words(deploy)):
        assert words[1] == "watch"
        options = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
        assert "output" in options and options <= known


def test_the_compose_file_is_valid(deploy: Path) -> None:
    pytest.importorskip(
        "check_jsonschema",
        reason="check_jsonschema is not installed; make setup installs it where it can",
    )
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, deploy / "compose.watch.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_container_writes_nowhere_but_the_results(service: dict[str, Any]) -> None:
    assert service["read_only"] and service["network_mode"] == "none"
    writable = [each["target"] for each in service["volumes"] if not each.get("read_only")]
    assert writable == ["/results"] and service["tmpfs"][0].startswith("/tmp:")


def test_hadolint_finds_nothing(deploy: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; make setup installs it where it can")
    file = deploy / "Dockerfile.watch"
    done = subprocess.run([hadolint, file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert (deploy / "Dockerfile.watch.dockerignore").read_text().startswith("# What the wheel")
