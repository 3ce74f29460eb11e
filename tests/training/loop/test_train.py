"""The loop: interrupted anywhere it ends with the same weights, and it does learn."""

import copy
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from muqrt.errors import AudioError, CheckpointError, TrainingPausedError
from muqrt.training.data.crops import Batch, Skipped
from muqrt.training.loop.devices import Hardware, launched
from muqrt.training.loop.plan import TrainingPlan
from muqrt.training.loop.run import Run
from muqrt.training.loop.train import LOG_EVERY_STEPS, Trainee, train, validate

PLAN = TrainingPlan(steps=25, batch_size=4, learning_rate=0.05, warmup_steps=3, save_every_steps=10)


class Line(Trainee):
    """Fits y = 2x, with dropout, so that a wrong seed is seen, and batch norm for buffers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (self.layers(x) - 2 * x).square().mean()
        return loss, {"root": loss.detach().sqrt()}


@dataclass
class Numbers(Dataset[Batch]):
    """Seeded rows; ``killed_at`` stands for a kill: reading that row fails."""

    killed_at: int | None = None
    skipped: tuple[Skipped, ...] = ()

    def __getitem__(self, index: int) -> Batch:
        if index == self.killed_at:
            raise KeyboardInterrupt
        row = np.random.default_rng(index).standard_normal((1, 3)).astype(np.float32)
        return Batch((torch.from_numpy(row),), self.skipped)


def trained(
    folder: Path, plan: TrainingPlan = PLAN, dataset: Numbers | None = None, workers: int = 0
) -> Line:
    line = Line()
    fabric = launched(plan, Hardware("cpu"))
    train(line, dataset or Numbers(), plan, Run(folder, {}), fabric, workers)
    return line


def equal(a: nn.Module, b: nn.Module) -> bool:
    ours, others = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], others[name]) for name in others)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("killed_at_step", [1, 9, 10, 13, 24])
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(
    tmp_path: Path, killed_at_step: int, ema_decay: float | None
) -> None:
    plan = replace(PLAN, ema_decay=ema_decay)
    whole = trained(tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", plan, Numbers(killed_at=killed_at_step * plan.batch_size))
    assert equal(trained(tmp_path / "killed", plan), whole)


def test_in_pieces_it_is_bit_for_bit_in_one(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    for until in (7, 20):
        with pytest.raises(TrainingPausedError, match=f"saved after step {until} of 25") as raised:
            trained(tmp_path / "pieces", replace(PLAN, until_step=until))
        assert raised.value.exit_code == 0
    assert equal(trained(tmp_path / "pieces"), whole)
    pieces = Run(tmp_path / "pieces", {}).load_state().pieces
    assert [(p["first_step"], p["last_step"]) for p in pieces] == [(0, 7), (7, 20), (20, 25)]
    assert {p["torch"] for p in pieces} == {torch.__version__}
    assert all(0 <= p["waiting_seconds"] <= p["seconds"] for p in pieces)


@dataclass
class Signalling(Numbers):
    """Sends this process a signal when a row is read."""

    at: int = 0
    number: int = signal.SIGTERM

    def __getitem__(self, index: int) -> Batch:
        if index == self.at:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_what_was_done_saved(tmp_path: Path, number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(TrainingPausedError, match="saved after step 14 of 25") as raised:
        trained(tmp_path / "run", dataset=Signalling(at=13 * PLAN.batch_size, number=number))
    assert raised.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert equal(trained(tmp_path / "run"), trained(tmp_path / "whole"))


def test_the_reading_processes_change_nothing(tmp_path: Path) -> None:
    assert equal(trained(tmp_path / "none"), trained(tmp_path / "two", workers=2))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    assert not equal(trained(tmp_path / "a"), trained(tmp_path / "b", replace(PLAN, seed=1)))


def test_the_loss_falls_and_is_logged(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=200)
    trained(tmp_path / "run", plan)
    history = Run(tmp_path / "run", {}).load_state().history
    assert [row["step"] for row in history] == list(range(LOG_EVERY_STEPS, 201, LOG_EVERY_STEPS))
    assert history[-1]["loss"] < history[0]["loss"] * 0.8
    assert history[-1]["root"] == pytest.approx(history[-1]["loss"] ** 0.5, rel=0.5)
    assert list((tmp_path / "run" / "log").glob("events*"))


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    first = trained(tmp_path / "run")
    assert equal(trained(tmp_path / "run", dataset=Numbers(killed_at=0)), first)


def test_the_average_is_of_the_weights_on_the_way(tmp_path: Path) -> None:
    """The oracle averages by hand, step by step."""
    decay = 0.9
    plan = replace(PLAN, warmup_steps=99)
    rows = [trained(tmp_path / str(n), replace(plan, steps=n)) for n in range(1, 5)]
    average = copy.deepcopy(rows[0].state_dict())
    for row in rows[1:]:
        for name, value in row.state_dict().items():
            if value.is_floating_point():
                average[name] = decay * average[name] + (1 - decay) * value
    averaged = replace(plan, steps=4, ema_decay=decay)
    ours = trained(tmp_path / "ema", averaged).state_dict()
    for name, value in average.items():
        if value.is_floating_point():
            torch.testing.assert_close(ours[name], value)


def test_skipped_files_are_listed(tmp_path: Path) -> None:
    skipped = (Skipped(Path("a.wav"), "silent"),)
    trained(tmp_path / "run", dataset=Numbers(skipped=skipped))
    assert Run(tmp_path / "run", {}).skipped() == [*skipped]


class Seeing(Line):
    """Notes what it is given."""

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen = x
        return super().forward(x)


def test_mixed_precision_does_not_round_the_audio(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=1, precision="bf16-mixed")
    line, fabric = Seeing(), launched(plan, Hardware("cpu"))
    train(line, Numbers(), plan, Run(tmp_path / "run", {}), fabric, workers=0)
    expected = torch.cat([Numbers()[index].inputs[0] for index in range(4)])
    assert torch.equal(line.seen, expected)


class Unreadable(Numbers):
    def __getitem__(self, index: int) -> Batch:
        raise AudioError("song.wav: cannot be decoded")


@pytest.mark.parametrize("workers", [0, 1])
def test_music_that_cannot_be_read_is_one_line(tmp_path: Path, workers: int) -> None:
    with pytest.raises(AudioError) as raised:
        trained(tmp_path / "run", dataset=Unreadable(), workers=workers)
    assert str(raised.value) == "song.wav: cannot be decoded"


class Exploding(Line):
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, figures = super().forward(x)
        return loss * torch.inf, figures


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    fabric = launched(PLAN, Hardware("cpu"))
    with pytest.raises(CheckpointError, match="step 0: the loss is inf"):
        train(Exploding(), Numbers(), PLAN, Run(tmp_path / "run", {}), fabric, workers=0)


def test_validation_is_the_mean_in_eval_mode() -> None:
    line = Line().train()
    measured = validate(line, Numbers(), batches=3, batch_size=4)
    rows = torch.cat([Numbers()[index].inputs[0] for index in range(12)])
    with torch.no_grad():
        expected, _ = line.eval()(rows)
    assert measured["loss"] == pytest.approx(float(expected), rel=1e-5)
