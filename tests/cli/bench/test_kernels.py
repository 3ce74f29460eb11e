"""``muqrt bench kernels`` on the tiny model, and the counting behind it."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from muqrt.benchmarks.kernels import run
from muqrt.benchmarks.kernels.contenders import Contender, EagerRvq
from muqrt.benchmarks.kernels.work import Ceilings, Work, log_mel_work, mel_rvq_work
from muqrt.benchmarks.measure.latency import Cell
from muqrt.cli.bench.command import commands
from muqrt.errors import ParityError, UsageError
from muqrt.reference.rvq import ResidualVectorQuantize, stacked


def bench(*arguments: object) -> Result:
    standalone = {"standalone_mode": False}
    return CliRunner().invoke(
        commands, ["kernels", *map(str, arguments), "--no-compile"], **standalone
    )


def test_a_report_of_both_operations(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "results" / "cpu"
    result = bench(tiny_checkpoint, "--cells", "1x1,2x0.5", "--rounds", 5, "-o", output, "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert document == json.loads(output.with_suffix(".json").read_text())
    found = [
        (each["operation"], each["contender"], each["batch"]) for each in document["measurements"]
    ]
    assert sorted(set(found)) == sorted(found) and len(found) == 2 * 2 * 2
    for each in document["measurements"]:
        assert len(each["samples_seconds"]) == 5
        assert each["p10_seconds"] <= each["median_seconds"] <= each["p90_seconds"]
        assert each["launches"] is None and each["share_of_floor"] is None  # no GPU was asked for
    page = output.with_suffix(".md").read_text()
    assert "ONNX Runtime" in page and "agreement" in page


def test_a_wrong_answer_is_not_reported(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Contender("wrong", lambda x: torch.zeros(1, 128, x.shape[1] // 240))
    monkeypatch.setattr(run, "log_mel_contender", lambda *_: wrong)
    result = bench(tiny_checkpoint, "--cells", "1x1", "--rounds", 5)
    assert isinstance(result.exception, ParityError)
    assert "not eager's log-mel" in str(result.exception)


@pytest.mark.parametrize("options", [("--cells", "10"), ("--device", "tpu")])
def test_wrong_options(tiny_checkpoint: Path, options: tuple[str, str]) -> None:
    assert isinstance(bench(tiny_checkpoint, *options).exception, UsageError)


def test_an_rvq_no_kernel_is_for() -> None:
    with pytest.raises(UsageError, match="several layers"):
        EagerRvq(ResidualVectorQuantize(512, 2, 8, 4, layers=2), frames_per_step=4)


def test_eager_is_the_reference() -> None:
    torch.manual_seed(0)
    rvq = ResidualVectorQuantize(512, 8, 1024, 16, layers=1)
    log_mel = torch.randn(2, 128, 43)
    with torch.inference_mode():
        expected = rvq(stacked(log_mel, 4))[1]
        torch.testing.assert_close(EagerRvq(rvq, 4)(log_mel), expected)


def test_the_released_models_work_by_hand() -> None:
    """10 s: 1000 frames, 250 steps of 8 stages, 1024 codes of 16."""
    mel = log_mel_work(Cell(10, 1))
    assert mel == Work(1000 * (240 + 128) * 4, 2 * 1000 * 262_144)
    rvq = mel_rvq_work(Cell(10, 2), stages=8, codes=1024, code_width=16, frames_per_step=4)
    tables = 128 * 512 + 8 * 1024 * 16 + 8 * 1024 * 128
    assert rvq.bytes == 2000 * 128 * 4 + tables * 4 + 500 * 8 * 4
    assert rvq.flops == 2 * 500 * (128 * 512 + 8 * 1024 * 16)


def test_the_floor_is_the_slower_of_moving_and_computing() -> None:
    ceilings = Ceilings(bytes_per_second=10.0, flops_per_second=30.0)
    assert ceilings.floor_seconds(Work(bytes=100, flops=20)) == 10
    assert ceilings.floor_seconds(Work(bytes=10, flops=20)) == 2
