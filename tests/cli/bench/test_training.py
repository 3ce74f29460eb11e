"""``muqrt bench training`` on a model of two layers."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from muqrt.reference.config import MuQConfig

from ...training.conftest import one_thread as one_thread


def test_every_contender_is_measured(
    shallow: MuQConfig, tmp_path: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(vars(shallow)))
    work = ("--size", config, "--batch-size", 3, "--crop-seconds", 1, "--rounds", 3)
    done = muqrt("bench", "training", *work, "--threads", 2, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    names = [each["contender"] for each in report["times"]]
    expected = ["PyTorch eager", "muqrt train pretrain, one thread", "muqrt train pretrain"]
    assert names == expected
    assert all(each["processor_seconds"] > 0 for each in report["times"])
    assert all(len(each["losses"]) == 3 for each in report["times"])
    assert "crops an hour" in (tmp_path / "out.md").read_text()
