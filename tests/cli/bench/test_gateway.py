"""``muqrt bench gateway``: both ways, with a real server."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytestmark = [pytest.mark.server, pytest.mark.full]

Command = Callable[..., CompletedProcess[str]]


def test_both_ways_are_measured(
    tagged_bundle: Path, music: Path, tmp_path: Path, muqrt: Command
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two cores are needed")
    models, output = tmp_path / "models", tmp_path / "gateway"
    assert muqrt("repository", tagged_bundle, "-o", models, "--threads", 1).returncode == 0
    file = music / "greensleeves_duo.flac"
    done = muqrt("bench", "gateway", models, file, "--rounds", 2, "--json", "-o", output)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["largest_difference"] <= 1e-5) == ([file.name], True)
    assert [each["way"] for each in report["timings"]] == ["direct", "gateway"]
    for each in report["timings"]:
        assert len(each["samples_seconds"]) == 2 and min(each["samples_seconds"]) > 0
        assert min(each["processor_seconds"]) > 0
    assert "| gateway |" in output.with_suffix(".md").read_text()
