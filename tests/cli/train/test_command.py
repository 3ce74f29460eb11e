"""``muqrt train``: the whole road of the paper at toy size, resumed, on two processes, and refused
where it makes no sense."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.config import MuQConfig
from muqrt.reference.rvq_file import load_rvq

Command = Callable[..., CompletedProcess[str]]
RVQ = ("--steps", 100, "--batch-size", 8, "--crop-seconds", 2, "--warmup-steps", 5)
PRETRAIN = ("--steps", 60, "--batch-size", 4, "--crop-seconds", 2, "--warmup-steps", 5)
CPU = ("--accelerator", "cpu", "--workers", 0)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory, shallow: MuQConfig) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(vars(shallow)))
    return path


@pytest.fixture(scope="module")
def fitted(
    chord_corpus: Path, config_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The run of a fitted Mel-RVQ, and what the command said of it."""
    folder = tmp_path_factory.mktemp("runs") / "rvq"
    arguments = ["train", "rvq", chord_corpus, "-o", folder, *RVQ, "--size", config_file]
    done = spawned(*arguments, *CPU, "--learning-rate", 0.01, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def spawned(*arguments: object) -> CompletedProcess[str]:
    command = [sys.executable, "-m", "muqrt", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_rvq_learns(fitted: tuple[Path, dict[str, Any]]) -> None:
    folder, report = fitted
    assert report["last"]["loss"] < report["first"]["loss"] / 2
    stages = report["valid"]["stages"]
    assert all(stage["residual"] < report["valid"]["input"] / 2 for stage in stages)
    assert sum(stage["used"] for stage in stages) > 100
    rvq, config = load_rvq(folder / "rvq")
    assert config.width == 512
    assert config.figures == report["valid"]
    assert len(rvq.quantizers) == 8


@pytest.fixture
def pretrain(
    fitted: tuple[Path, dict[str, Any]], chord_corpus: Path, config_file: Path, muqrt: Command
) -> Command:
    """The command, on the chords, with the fitted Mel-RVQ."""

    def run(folder: Path, *options: object) -> CompletedProcess[str]:
        model = ("--rvq", fitted[0] / "rvq", "--size", config_file)
        arguments = (chord_corpus, "-o", folder, *model, *PRETRAIN, *CPU, *options)
        return muqrt("train", "pretrain", *arguments)

    return run


def test_the_whole_road(
    fitted: tuple[Path, dict[str, Any]],
    pretrain: Command,
    chord_corpus: Path,
    tmp_path: Path,
    muqrt: Command,
) -> None:
    """Mel-RVQ, pre-training, an iterative round: the loss falls, and masked accuracy beats the
    most frequent token's share, the best that can be had without looking."""
    rvq, first, second = fitted[0] / "rvq", tmp_path / "first", tmp_path / "second"
    done = pretrain(first, "--learning-rate", 0.003, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["last"]["loss"] < report["first"]["loss"] - 1
    assert report["valid"]["accuracy"] > 10 / 1024
    model = load_checkpoint(first / "checkpoint").model
    assert model.config.stat["melspec_2048_mean"] == load_rvq(rvq)[1].mean
    assert torch.equal(
        model.model.rvq.quantizers[3].codebook.weight,
        load_rvq(rvq)[0].quantizers[3].codebook.weight,
    )

    arguments = (chord_corpus, "-o", second, "--checkpoint", first / "checkpoint", "--level", 1)
    options = (*PRETRAIN, *CPU, "--steps", 10, "--rvq-steps", 20, "--bf16")
    done = muqrt("train", "iterate", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "Held out: loss" in done.stdout
    assert len(list((second / "labels").glob("*.npy"))) == 8
    labels = [np.load(path) for path in (second / "labels").glob("*.npy")]
    assert {label.shape[0] for label in labels} == {8}
    assert sorted(label.shape[1] for label in labels) == [25 * (6 + i) for i in range(8)]
    student = load_checkpoint(second / "checkpoint").model
    assert not torch.equal(student.model.linear.weight, model.model.linear.weight)


def test_random_projection_targets(pretrain: Command, tmp_path: Path) -> None:
    done = pretrain(tmp_path / "run", "--steps", 2, "--targets", "random-projection")
    assert done.returncode == 0, done.stderr
    assert not load_checkpoint(tmp_path / "run" / "checkpoint").model.config.use_rvq_target


@pytest.mark.full
@pytest.mark.slow
def test_sigkill_at_any_moment_costs_nothing_but_time(
    fitted: tuple[Path, dict[str, Any]], chord_corpus: Path, config_file: Path, tmp_path: Path
) -> None:
    options = (*PRETRAIN, *CPU, "--rvq", fitted[0] / "rvq", "--size", config_file)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = spawned("train", "pretrain", chord_corpus, "-o", whole, *options)
    assert done.returncode == 0, done.stderr
    again = ["train", "pretrain", chord_corpus, "-o", killed, *options, "--save-every-steps", 7]
    command = [sys.executable, "-m", "muqrt", *map(str, again)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    while not (killed / "state").is_dir() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "checkpoint").exists()
    done = spawned(*again)
    assert done.returncode == 0, done.stderr
    ours, expected = (load_file(f / "checkpoint" / "model.safetensors") for f in (killed, whole))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "steps", [6, pytest.param(200, marks=[pytest.mark.full, pytest.mark.slow])]
)
def test_two_pieces_on_two_threads_are_one_run(
    pretrain: Command, tmp_path: Path, steps: int
) -> None:
    options = ("--threads", 2, "--steps", steps, "--bf16")
    done = pretrain(tmp_path / "whole", *options)
    assert done.returncode == 0, done.stderr
    done = pretrain(tmp_path / "pieces", *options, "--until-step", steps // 2)
    assert done.returncode == 0, done.stderr
    assert f"saved after step {steps // 2} of {steps}" in done.stderr
    assert not (tmp_path / "pieces" / "checkpoint").exists()
    done = pretrain(tmp_path / "pieces", *options, "--json")
    assert done.returncode == 0, done.stderr
    pieces = json.loads(done.stdout)["pieces"]
    assert [each["threads"] for each in pieces] == [2, 2]
    ours, expected = (
        load_file(tmp_path / name / "checkpoint" / "model.safetensors")
        for name in ("pieces", "whole")
    )
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.full
@pytest.mark.slow
def test_two_processes_train_one_model(
    fitted: tuple[Path, dict[str, Any]], chord_corpus: Path, config_file: Path, tmp_path: Path
) -> None:
    """Each trains on half of every batch; one report, one checkpoint, and the loss falls."""
    options = (*PRETRAIN, *CPU, "--rvq", fitted[0] / "rvq", "--size", config_file)
    arguments = ("train", "pretrain", chord_corpus, "-o", tmp_path / "run", *options)
    done = spawned(*arguments, "--learning-rate", 0.003, "--devices", 2, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["last"]["loss"] < report["first"]["loss"] - 1
    assert load_checkpoint(tmp_path / "run" / "checkpoint").parameters > 0
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["processes"] == 2


def test_bad_files_are_counted_and_listed(
    config_file: Path, tmp_path: Path, muqrt: Command
) -> None:
    corpus, noise = tmp_path / "corpus", np.random.default_rng(0).uniform(-0.5, 0.5, 72_000)
    corpus.mkdir()
    soundfile.write(corpus / "good.wav", noise, 24_000)
    soundfile.write(corpus / "silent.wav", np.zeros(72_000), 24_000)
    soundfile.write(corpus / "short.wav", noise[:999], 24_000)
    (corpus / "broken.mp3").write_bytes(b"ID3 and nothing")
    options = (*RVQ[2:], *CPU, "--steps", 3, "--size", config_file)
    done = muqrt("train", "rvq", corpus, "-o", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "3 files skipped" in done.stdout
    listed = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    reasons = {Path(json.loads(line)["audio"]).name: json.loads(line)["reason"] for line in listed}
    assert set(reasons) == {"silent.wav", "short.wav", "broken.mp3"}
    assert "silent" in reasons["silent.wav"]


def test_refusals(
    fitted: tuple[Path, dict[str, Any]],
    chord_corpus: Path,
    config_file: Path,
    tmp_path: Path,
    muqrt: Command,
) -> None:
    run = fitted[0]
    pretraining = ("train", "pretrain", chord_corpus, "-o", tmp_path / "run", *PRETRAIN, *CPU)
    leaking = tmp_path / "leaking.jsonl"
    rows = [{"audio": str(chord_corpus / "0.wav"), "split": split} for split in ("train", "test")]
    leaking.write_text("\n".join(map(json.dumps, rows)))
    refused = {
        ("train", "rvq", tmp_path / "none", "-o", tmp_path / "run"): (3, "no such folder"),
        ("train", "rvq", leaking, "-o", tmp_path / "run"): (3, "the splits leak"),
        ("train", "rvq", chord_corpus, "-o", run, *RVQ, *CPU): (2, "other settings"),
        ("train", "rvq", chord_corpus, "-o", tmp_path / "run", "--size", "huge"): (3, "huge"),
        (*pretraining, "--rvq", run): (3, "no rvq"),
        (*pretraining, "--rvq", run / "rvq", "--targets", "clusters"): (2, "clusters"),
        (*pretraining, "--rvq", run / "rvq", "--devices", 3): (2, "batch of 4"),
        ("train", "rvq", chord_corpus, "-o", tmp_path / "run", "--learning-rate", -1): (2, "rate"),
    }
    for arguments, (code, message) in refused.items():
        done = muqrt(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), arguments
        assert message in done.stderr, arguments
