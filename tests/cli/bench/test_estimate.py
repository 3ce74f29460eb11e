"""``muqrt estimate``."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from muqrt.benchmarks.roofline.report import NOT_MEASURED
from muqrt.cli.bench.estimate import commands
from muqrt.errors import BundleError, UsageError


def estimate(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(each) for each in arguments])


def test_the_shipped_model_on_two_gpus() -> None:
    result = estimate("--gpu", "l4,h200", "--precision", "fp32,fp16", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["is_measurement"] is False
    found = {(x["gpu"]["name"], x["precision"]): x for x in report["estimates"]}
    assert len(found) == 4
    assert [x["as_if"] for x in report["estimates"]] == [False, False, True, True]
    for each in found.values():
        alone, batch = each["cells"]
        assert (alone["batch"], batch["batch"]) == (1, 32)
        for cell in (alone, batch):
            assert cell["least_seconds"] == pytest.approx(sum(x["seconds"] for x in cell["parts"]))
            audio = cell["batch"] * report["window_seconds"]
            rate = cell["most_audio_seconds_per_second"]
            assert rate == pytest.approx(audio / cell["least_seconds"])
        work = [sum(sum(x["flops"].values()) for x in cell["parts"]) for cell in (alone, batch)]
        assert work[1] == pytest.approx(32 * work[0], rel=0.01)
        assert {x["part"] for x in alone["parts"]} >= {"mel", "front end", "attention", "heads"}
    seconds = {key: each["cells"][1]["least_seconds"] for key, each in found.items()}
    assert seconds["NVIDIA H200 SXM", "fp16"] < seconds["NVIDIA L4", "fp16"]
    assert seconds["NVIDIA L4", "fp16"] < seconds["NVIDIA L4", "fp32"]


def test_people_are_told_that_it_is_no_measurement(tiny_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bound"
    result = estimate(tiny_bundle, "--gpu", "A10", "--seconds", 1, "-o", output)
    assert result.exit_code == 0, result.output
    page = Path(f"{output}.md").read_text()
    assert "/" not in json.loads(Path(f"{output}.json").read_text())["checkpoint"]
    for text in (result.stdout, page):
        assert NOT_MEASURED in text and "a10-datasheet" in text
    assert "a bound, not a measurement" in page and "as if" not in page


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (["--gpu", "l5"], UsageError, "choose one of: t4, a10, a100, l4"),
        (["--gpu", "l4,,a10"], UsageError, "without empty ones"),
        (["--gpu", "a10", "--precision", "fp8"], UsageError, "no rate is published for fp8"),
        (["--gpu", "l4", "--precision", "fp12"], UsageError, "choose one of: fp32, tf32"),
        (["--gpu", "l4", "--artefact", "onnx-fp9"], BundleError, "it has: onnx-fp32"),
        (["nowhere", "--gpu", "l4"], BundleError, "nowhere: no bundle.json there"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], error: type[Exception], reason: str) -> None:
    result = estimate(*arguments)
    assert isinstance(result.exception, error)
    assert reason in str(result.exception)
    assert result.exception.exit_code == (2 if error is UsageError else 3)
