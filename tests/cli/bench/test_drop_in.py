"""``muqrt bench drop-in``: one script on two packages; here the drop-in stands for both."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.benchmarks.drop_in import OFFICIAL

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A Python that has a package muq, whose model is the drop-in's."""
    (tmp_path / "site" / "muq").mkdir(parents=True)
    (tmp_path / "site" / "muq" / "__init__.py").write_text("from muqrt.drop_in import MuQ\n")
    (tmp_path / "site" / "muq-7.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: muq\nVersion: 7\n"
    (tmp_path / "site" / "muq-7.dist-info" / "METADATA").write_text(metadata)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/site exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_the_contenders_take_turns(
    muqrt: Command,
    levels_bundle: Path,
    tiny_checkpoint: Path,
    official: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "same").symlink_to(levels_bundle)  # no second export
    about = ("--checkpoint", tmp_path / "same", "--official", official, "--seconds", 1)
    more = ("--threads", 1, "--rounds", 2, "-o", tmp_path / "found", "--json")
    done = muqrt("bench", "drop-in", levels_bundle, *about, *more)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["official_versions"]["muq"] == "7"
    assert [each["contender"] for each in report["found"]] == [
        OFFICIAL,
        "muqrt.drop_in, onnx-fp32",
    ]
    for each in report["found"]:
        assert len(each["processor_seconds"]) == len(each["seconds"]) == 2
        assert all(50e6 < peak < 3e9 for peak in each["peak_rss_bytes"])
    assert report["found"][1]["relative_l2"] < 1e-6
    assert "| muqrt.drop_in, onnx-fp32 |" in (tmp_path / "found.md").read_text()


def test_no_official_package(muqrt: Command, levels_bundle: Path, tiny_checkpoint: Path) -> None:
    for python, message in ((sys.executable, "No module named 'muq'"), ("/none", "cannot be run")):
        about = ("--checkpoint", tiny_checkpoint, "--official", python)
        done = muqrt("bench", "drop-in", levels_bundle, *about)
        assert done.returncode == 2
        assert message in done.stderr and done.stderr.count("\n") == 1
