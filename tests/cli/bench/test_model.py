"""``muqrt bench model``: what it writes, and what it refuses."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from muqrt.benchmarks.measure import timing
from muqrt.benchmarks.measure.contenders import PLAIN_ONNX
from muqrt.benchmarks.measure.parts import OTHER, PARTS
from muqrt.benchmarks.measure.timing import EAGER
from muqrt.benchmarks.model import arithmetic, cold_start, instruction_sets, library, plan
from muqrt.benchmarks.model.library import WHOLE_SONGS
from muqrt.cli.bench.command import commands
from muqrt.common.environment import instruction_sets as available
from muqrt.errors import (
    BundleError,
    CheckpointError,
    MissingDependencyError,
    ParityError,
    UsageError,
)
from muqrt.reference.checkpoint import save_checkpoint
from muqrt.reference.random_model import TINY, random_model


def bench(bundle: Path, checkpoint: Path, *options: object) -> Result:
    arguments = [
        "model",
        bundle,
        "--checkpoint",
        checkpoint,
        "--no-compile",
        "--threads",
        1,
        *options,
    ]
    return CliRunner().invoke(commands, [str(each) for each in arguments])


@pytest.fixture
def tiny_bench(tiny_bundle: Path, tiny_checkpoint: Path) -> Callable[..., Result]:
    return partial(bench, tiny_bundle, tiny_checkpoint)


@pytest.fixture(scope="module")
def written(
    tiny_bundle: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The name of the results of a run with everything, but less of it."""
    output = tmp_path_factory.mktemp("results") / "v1.2"
    sizes = ("--windows", "0.5,0.2", "--batches", "1,2", "--rounds", 3, "--hops", 3, "--songs", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cold_start, "STARTS", 1)
        patch.setattr(timing, "_PAUSE_SECONDS", 0)
        patch.setattr(library, "SONG_SECONDS", 2.0)
        patch.setattr(arithmetic, "MATRIX_WIDTH", {"cpu": 64})
        patch.setattr(arithmetic, "_CHANNELS", 8)
        for module in (instruction_sets, plan):
            patch.setattr(module, "instruction_sets", lambda: available()[:1])
        patch.setattr(sys, "argv", ["/usr/bin/muqrt", "bench", "model", str(tiny_bundle), "--cpu"])
        result = bench(tiny_bundle, tiny_checkpoint, "--cpu", *sizes, "-o", output, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(Path(f"{output}.json").read_text())
    return output


def test_the_json_has_every_cell(written: Path, tiny_bundle: Path) -> None:
    report = json.loads(Path(f"{written}.json").read_text())
    cells = {(x["contender"], x["window_seconds"], x["batch"]) for x in report["latencies"]}
    names = (EAGER, PLAIN_ONNX, "onnx-fp32")
    assert cells == {(name, *cell) for name in names for cell in ((0.2, 1), (0.5, 1), (0.5, 2))}
    for each in report["latencies"]:
        assert len(each["samples_seconds"]) == 3
        assert min(each["samples_seconds"]) > 0
        assert 0 < each["p10_seconds"] <= each["median_seconds"] <= each["p90_seconds"]
        assert each["audio_seconds_per_second"] > 0
        assert each["matches"]
        assert each["speedup"] > 0
        assert each["contender"] != EAGER or each["speedup"] == 1
        assert each["threads"] == 1
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    assert report["checkpoint_sha256"] == manifest["source"]["sha256"]
    assert report["artefacts"][0]["certified"] is True
    assert report["threads"] == 1
    assert {"cpu", "torch", "onnxruntime"} <= set(report["environment"])


def test_the_json_has_every_cold_start(written: Path) -> None:
    starts = json.loads(Path(f"{written}.json").read_text())["cold_starts"]
    assert [each["contender"] for each in starts] == [EAGER, PLAIN_ONNX, "onnx-fp32"]
    for each in starts:
        assert each["cold_start_seconds"] > each["load_seconds"] > 0
        assert each["peak_rss_bytes"] > 30e6
    assert starts[0]["peak_rss_bytes"] > starts[2]["peak_rss_bytes"]


def test_the_page_names_hardware_versions_and_units(written: Path, tiny_bundle: Path) -> None:
    page = Path(f"{written}.md").read_text()
    report = json.loads(Path(f"{written}.json").read_text())
    for expected in (report["environment"]["cpu"], "median, s", "| torch |", "(v1.2.png)"):
        assert expected in page
    for expected in (
        "songs an hour",
        "streams a core",
        "by operator",
        "(v1.2-parts.png)",
        "int8 product",
    ):
        assert expected in page
    assert page.count("| onnx-fp32 | 1 | 0.5 x ") == 2
    assert report["command"] == "muqrt bench model bundle --cpu"
    assert str(tiny_bundle.parent) not in page


@pytest.mark.parametrize("chart", ["", "-parts"])
def test_the_charts_are_pictures(chart: str, written: Path) -> None:
    with Image.open(f"{written}{chart}.png") as picture:
        picture.verify()
        assert picture.width > 600


def test_the_json_has_a_live_stream(written: Path) -> None:
    eager, ours = json.loads(Path(f"{written}.json").read_text())["hops"]
    assert (eager["contender"], eager["speedup"]) == (EAGER, 1.0)
    assert ours["contender"] == "onnx-fp32"
    assert ours["agreement"]["matches"] and 0 < ours["agreement"]["relative_l2"] < 1e-4
    for each in (eager, ours):
        assert len(each["samples_seconds"]) == 3
        assert each["real_time_factor"] == pytest.approx(each["median_seconds"] / 0.5)
        assert each["streams_per_core"] == pytest.approx(0.5 / each["median_seconds"])


def test_the_json_has_where_the_time_goes(written: Path) -> None:
    operators = json.loads(Path(f"{written}.json").read_text())["operators"]
    assert {each["artefact"] for each in operators} == {"onnx-fp32"}
    assert {each["part"] for each in operators} >= set(PARTS) - {OTHER}
    assert all(each["seconds"] >= 0 and each["nodes"] >= 1 for each in operators)


def test_the_json_has_the_arithmetic_of_the_base_input(written: Path) -> None:
    work = json.loads(Path(f"{written}.json").read_text())["arithmetic"]
    assert (work["window_seconds"], work["batch"], work["threads"]) == (0.5, 1, 1)
    assert [each["contender"] for each in work["rates"]] == [EAGER, PLAIN_ONNX, "onnx-fp32"]
    assert len(work["peaks_flops_per_second"]) == 4
    assert min(work["peaks_flops_per_second"].values()) > 0
    sets = [(each["instruction_set"], each["precision"]) for each in work["instruction_sets"]]
    assert sets == [(name, precision) for name in available()[:1] for precision in ("fp32", "int8")]
    assert all(each["flops_per_second"] > 0 for each in work["instruction_sets"])


def test_the_page_says_what_each_part_reaches(written: Path) -> None:
    page = Path(f"{written}.md").read_text()
    assert "onnx-fp32, GFLOP/s" in page
    assert all(f"| {name} |" in page for name in available()[:1])


def test_the_json_has_a_library(written: Path) -> None:
    found = json.loads(Path(f"{written}.json").read_text())["library"]
    assert [each["contender"] for each in found] == [EAGER, WHOLE_SONGS, "onnx-fp32"]
    ours = found[-1]
    # 2 s are one window and one piece, of the same samples but for the resampler.
    assert 0.999 < ours["worst_cosine"] < 1.000001


def test_an_uncertified_artefact_is_refused(
    uncertified_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    result = bench(uncertified_bundle, tiny_checkpoint, "-o", tmp_path / "x")
    assert isinstance(result.exception, ParityError)
    assert result.exception.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_an_uncertified_artefact_is_marked_when_allowed(
    uncertified_bundle: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_start, "STARTS", 1)
    options = ("--windows", "0.2", "--batches", "1", "--rounds", 2, "--allow-uncertified")
    result = bench(uncertified_bundle, tiny_checkpoint, *options)
    assert result.exit_code == 0, result.output
    assert "onnx-fp32 (NOT CERTIFIED)" in result.stdout


def test_another_checkpoint_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    save_checkpoint(random_model(TINY, seed=1), tmp_path / "other")
    result = bench(tiny_bundle, tmp_path / "other")
    assert isinstance(result.exception, CheckpointError)


@pytest.mark.parametrize(
    "options",
    [
        ("--windows", "0.01"),
        ("--windows", "nan"),
        ("--windows", "1e9"),
        ("--windows", "ten"),
        ("--windows", ""),
        ("--batches", "0"),
        ("--batches", "1,-2"),
        ("--batches", "1.5"),
        ("--threads", "0"),
        ("--threads", "1,two"),
    ],
)
def test_windows_and_batches_that_make_no_sense(
    options: tuple[str, str], tiny_bench: Callable[..., Result], tmp_path: Path
) -> None:
    result = tiny_bench(*options, "-o", tmp_path / "x")
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--rounds", 1),
        ("--rounds", "ten"),
        ("--songs", -1),
        ("--songs", 101),
        ("--hops", -1),
        ("--hops", 1001),
    ],
)
def test_options_out_of_range(
    options: tuple[str, object], tiny_bench: Callable[..., Result]
) -> None:
    assert tiny_bench(*options).exit_code == 2


def test_compiling_for_a_batch_that_is_not_measured(tiny_bench: Callable[..., Result]) -> None:
    options = ("--compile", "--batches", "1", "--compile-batches", "4")
    result = tiny_bench(*options)
    assert isinstance(result.exception, UsageError)


def test_no_bundle(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert isinstance(bench(tmp_path, tiny_checkpoint).exception, BundleError)


def test_a_folder_is_no_name_for_the_results(
    tiny_bench: Callable[..., Result], tmp_path: Path
) -> None:
    result = tiny_bench("-o", tmp_path)
    assert isinstance(result.exception, UsageError)


@pytest.mark.parametrize("module", ["torch", "matplotlib"])
def test_what_is_missing_is_said_before_anything_is_measured(
    module: str, tiny_bench: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = tiny_bench("-o", tmp_path / "x")
    assert isinstance(result.exception, MissingDependencyError)
    assert "pip install 'muqrt[bench]'" in str(result.exception)
