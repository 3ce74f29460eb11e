"""``muqrt bench gpu``: every step runs on its own, whether or not others fail."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from muqrt.benchmarks.gpu import Step, run, run_all, steps
from muqrt.cli.bench.command import commands
from muqrt.errors import UsageError

PLACES = Path("checkpoint"), Path("work/bundle"), Path("results/card")


def test_everything_is_built_before_it_is_measured() -> None:
    found = [each.name for each in steps(*PLACES)]
    assert found[0] == "tests of kernels and engines"
    builds = [f"build {e}-{p}" for e in ("torch", "onnx") for p in ("fp16", "bf16")]
    builds += [f"build tensorrt-{p}" for p in ("fp32", "fp16", "bf16")]
    assert [name for name in found if name.startswith("build ")] == builds
    assert found.index("export") < found.index(builds[0])
    assert found.index(builds[-1]) < found.index("benchmark of the model")


def test_what_is_there_already_is_left_alone(tiny_checkpoint: Path, tiny_bundle: Path) -> None:
    found = [each.name for each in steps(tiny_checkpoint, tiny_bundle, Path("card"))]
    assert "export" not in found and not any("random" in name for name in found)
    there = Step("build", ["muqrt", "nonsense"], makes="onnx-fp32")
    result = run(there, tiny_bundle, Path("unused"))
    assert (result.outcome, result.reason) == ("skipped", "there already")


def test_a_failure_says_why_and_a_missing_package_which(tmp_path: Path) -> None:
    log = tmp_path / "errors.log"
    failed = run(Step("one", ["muqrt", "embed", "none.wav"]), tmp_path, log)
    assert failed.outcome == "failed" and "1 of 1 files" in failed.reason
    skipped = run(Step("two", ["muqrt"], ("no_such_package",)), tmp_path, log)
    assert (skipped.outcome, skipped.reason) == ("skipped", "not installed: no_such_package")
    assert run(Step("three", ["muqrt", "--help"]), tmp_path, log).outcome == "done"


def test_the_results_so_far_are_kept(tmp_path: Path) -> None:
    every = [Step(name, ["muqrt"], ("no_such_package",)) for name in ("one", "two")]
    for count, result in enumerate(run_all(every, tmp_path, tmp_path), 1):
        kept = json.loads((tmp_path / "steps.json").read_text())
        assert len(kept) == count and kept[-1] == asdict(result)


def test_without_a_gpu_nothing_begins(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    result = CliRunner().invoke(commands, ["gpu", "-o", str(tmp_path / "card")])
    assert isinstance(result.exception, UsageError)
    assert "no CUDA device" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
