"""``muqrt evaluate``: right about what is easy, the same every time, and fast the second time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from muqrt.benchmarks.accuracy import contenders as contenders_module
from muqrt.benchmarks.accuracy.contenders import MelEncoder, SessionEncoder
from muqrt.benchmarks.accuracy.evaluation import splits_by_task
from muqrt.benchmarks.accuracy.metrics import PAPER_METRICS
from muqrt.errors import AudioError, BundleError, ParityError, UsageError
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.head import pooled
from muqrt.reference.mel import LogMel
from muqrt.runtime.engines.session import Session
from muqrt.runtime.load import open_bundle
from muqrt.training.data.manifest import read_recordings
from muqrt.training.probe.tasks import TASKS
from muqrt.triton_repo.client import session as client

from .command import evaluate, refused, rows_of, write_rows

# One of each kind, and the one with a metric of its own.
ASKED = ("genre", "key", "emotion", "tagging", "structure")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def written(
    levels_bundle: Path, labelled: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of one evaluation's results: a bundle and the mel."""
    folder = tmp_path_factory.mktemp("results")
    tasks = [option for task in ASKED for option in ("--task", task)]
    measured = ("--baseline", "mel", "--seeds", 2, "--cache", cache)
    options = (*tasks, *measured, "-o", folder, "--predictions")
    result = evaluate(levels_bundle, labelled, *options)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def report(written: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written / "accuracy.json").read_text())
    return found


def test_what_is_easy_is_right(report: dict[str, Any]) -> None:
    found = {(each["contender"], each["task"]): each["metrics"] for each in report["results"]}
    names = ("all-levels/onnx-fp32", "mel")
    assert set(found) == {(name, task) for name in names for task in ASKED}
    for (name, task), measured in found.items():
        for metric in PAPER_METRICS[task]:
            assert measured[metric]["mean"] > 0.5, (name, task, metric)
            assert len(measured[metric]["seeds"]) == 2


def test_the_report_says_what_was_measured_with_what(
    report: dict[str, Any], levels_bundle: Path
) -> None:
    bundle = json.loads((levels_bundle / "bundle.json").read_text())
    facts = report["contenders"]["all-levels/onnx-fp32"]
    assert facts["checkpoint_sha256"] == bundle["source"]["sha256"]
    assert facts["certified"] is True
    assert {"cpu", "torch", "onnxruntime", "scikit-learn", "mir_eval"} <= set(report["environment"])
    assert len(report["manifest_sha256"]) == 64
    assert report["results"][0]["tracks"] == {"train": 14, "valid": 4, "test": 8}
    assert report["skipped"] == []


def results_of(report: dict[str, Any], *tasks: str) -> list[dict[str, Any]]:
    """The bundle's results at these tasks."""
    mine = [each for each in report["results"] if each["contender"] != "mel"]
    return [each for each in mine if each["task"] in tasks]


def test_the_page_and_the_chart(written: Path, report: dict[str, Any]) -> None:
    page = (written / "accuracy.md").read_text()
    assert "| genre: accuracy | 8 | 100.0 ± 0.0 |" in page
    assert report["environment"]["cpu"] in page
    assert "(accuracy.png)" in page
    with Image.open(written / "accuracy.png") as chart:
        chart.verify()
        assert chart.width > 600


def test_the_predictions_give_the_accuracy(written: Path, report: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (written / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 5 * 2 * 8  # contenders, tasks, seeds, recordings
    genre = [each for each in lines if each["task"] == "genre" and each["contender"] == "mel"]
    for seed in (0, 1):
        right = [each["answer"] == each["genre"] for each in genre if each["seed"] == seed]
        (result,) = (
            each
            for each in report["results"]
            if (each["contender"], each["task"]) == ("mel", "genre")
        )
        assert np.mean(right) == result["metrics"]["accuracy"]["seeds"][seed]
    (tags,) = (
        each
        for each in lines
        if each["task"] == "tagging"
        and each["seed"] == 0
        and each["contender"] == "mel"
        and each["audio"].endswith("test-1.wav")
    )
    assert tags["answer"] == tags["tags"] == ["high"]


def test_every_task_with_labels_is_evaluated_unless_some_are_named(labelled: Path) -> None:
    recordings = read_recordings(labelled)
    assert set(splits_by_task(recordings, [])) == set(TASKS)
    assert set(splits_by_task(recordings, ["key"])) == {"key"}
    without = [each.model_copy(update={"singer": None}) for each in recordings]
    assert set(splits_by_task(without, [])) == set(TASKS) - {"singer"}


@pytest.mark.usefixtures("written")
def test_a_second_time_nothing_is_encoded_and_nothing_differs(
    levels_bundle: Path,
    labelled: Path,
    cache: Path,
    report: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def encode(*arguments: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(SessionEncoder, "__call__", encode)
    options = ("--task", "genre", "--task", "structure", "--seeds", 2, "--json", "--cache", cache)
    result = evaluate(levels_bundle, labelled, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["results"] == results_of(report, "genre", "structure")


def test_a_bundle_without_hidden_states_is_judged_by_its_features(
    tiny_bundle: Path, labelled: Path, tmp_path: Path
) -> None:
    options = ("--task", "genre", "--seeds", 1, "--json", "--cache", tmp_path)
    result = evaluate(tiny_bundle, labelled, *options)
    assert result.exit_code == 0, result.output
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("-features")
    assert np.load(next(folder.rglob("*.npy"))).shape == (1, 1, 64)


def test_the_sessions_features_are_the_references(
    levels_bundle: Path, tiny_checkpoint: Path
) -> None:
    waveforms = np.random.default_rng(0).normal(size=(2, 24_000)).astype(np.float32) / 10
    with open_bundle(levels_bundle, threads=1) as session:
        found = SessionEncoder(session)(waveforms, 1)[:, 0]
    with torch.no_grad():
        states = load_checkpoint(tiny_checkpoint).model(torch.from_numpy(waveforms)).hidden_states
    expected = torch.stack([pooled(state) for state in states], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_mels_mean_and_deviation_by_hand() -> None:
    waveforms = np.random.default_rng(0).normal(size=(2, 24_000)).astype(np.float32) / 10
    found = MelEncoder()(waveforms, 2)
    assert found.shape == (2, 2, 1, 256)
    frames = LogMel(240, 128, 0.0, 1.0)(torch.from_numpy(waveforms)).numpy()[:, :, 50:]
    np.testing.assert_allclose(found[:, 1, 0, :128], frames.mean(2), rtol=1e-4)
    np.testing.assert_allclose(found[:, 1, 0, 128:], frames.std(2), rtol=1e-2)


def test_bad_files_are_left_out_and_listed(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no music")
    bad = {"audio": "bad.wav", "split": "test", "genre": "low"}
    write_rows([*rows_of(labelled), bad], tmp_path)
    options = ("--baseline", "mel", "--seeds", 1, "--task", "genre", "--cache", tmp_path / "c")
    result = evaluate(tmp_path, *options)
    assert "Left out, whole or in part: 1." in result.stdout
    assert f"{tmp_path / 'bad.wav'}: cannot be read" in result.stdout


def test_leaks_and_empty_splits_are_refused(labelled: Path, tmp_path: Path) -> None:
    mel, rows = ("--baseline", "mel", "--cache", tmp_path), rows_of(labelled)
    leaking = write_rows([*rows, {**rows[0], "split": "test"}], tmp_path)
    assert "the splits leak" in refused(evaluate(leaking, *mel), AudioError)
    untested = write_rows([row for row in rows if row["split"] != "test"], tmp_path)
    assert 'split "test"' in refused(evaluate(untested, *mel, "--task", "key"), AudioError)
    bare = write_rows([{"audio": "a.wav"}], tmp_path)
    assert "no recording has a label" in refused(evaluate(bare, *mel), AudioError)


def test_a_key_that_is_none_is_named(labelled: Path, tmp_path: Path) -> None:
    *rows, last = rows_of(labelled)
    wrong = write_rows([*rows, {**last, "key": "H-dur"}], tmp_path)
    options = ("--baseline", "mel", "--cache", tmp_path, "--task", "key", "--seeds", 1)
    assert "key 'H-dur'" in refused(evaluate(wrong, *options), AudioError)


@pytest.mark.parametrize("task", ["tagging", "emotion"])
def test_too_little_to_measure_is_said(task: str, labelled: Path, tmp_path: Path) -> None:
    *rows, last = rows_of(labelled)
    few = write_rows([*(row for row in rows if row["split"] != "test"), last], tmp_path)
    options = ("--baseline", "mel", "--cache", tmp_path, "--task", task, "--seeds", 1)
    assert "from 1 test recordings" in refused(evaluate(few, *options), AudioError)


def test_a_served_model_is_judged_like_its_bundle(
    levels_bundle: Path,
    labelled: Path,
    cache: Path,
    written: Path,
    report: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def session(url: str, model: str) -> Session:
        assert (url, model) == ("localhost:8001", "muq")
        return open_bundle(levels_bundle, threads=1)

    monkeypatch.setattr(client, "TritonSession", session)
    options = ("--server", "localhost:8001", "--task", "key", "--seeds", 2, "--cache", cache)
    (found,) = json.loads(evaluate(labelled, *options, "--json").stdout)["results"]
    (expected,) = results_of(report, "key")
    assert found == {**expected, "contender": "muq at localhost:8001"}


def test_the_shipped_bundle_where_none_is_named(labelled: Path, cache: Path) -> None:
    options = ("--task", "genre", "--seeds", 1, "--cache", cache, "--json")
    done = evaluate(labelled, *options)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["results"]
    assert found["contender"].startswith("muq-mini/")


def test_what_makes_no_sense(
    labelled: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders_module, "open_session", None)  # nothing may start
    assert "choose among mel" in refused(evaluate(labelled, "--baseline", "cqt"), UsageError)
    assert "genre, key" in refused(evaluate(tiny_bundle, labelled, "--task", "x"), UsageError)
    assert "--output" in refused(evaluate(tiny_bundle, labelled, "--predictions"), UsageError)
    assert "in the way" in refused(evaluate(tiny_bundle, labelled, "-o", labelled), UsageError)
    assert "same name" in refused(evaluate(tiny_bundle, tiny_bundle, labelled), UsageError)
    refused(evaluate(tmp_path, labelled), BundleError)
    assert "no artefact 'int8'" in refused(
        evaluate(tiny_bundle, labelled, "--artefact", "int8"), BundleError
    )


def test_an_uncertified_artefact_is_refused_or_marked(
    uncertified_bundle: Path, labelled: Path, tmp_path: Path
) -> None:
    options = ("--task", "genre", "--seeds", 1, "--cache", tmp_path)
    refused(evaluate(uncertified_bundle, labelled, *options), ParityError)
    result = evaluate(uncertified_bundle, labelled, *options, "--allow-uncertified")
    assert "(NOT CERTIFIED)" in result.stdout
