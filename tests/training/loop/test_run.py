"""A run's folder: refuses what is not its own, keeps states whole, lists what was skipped."""

from pathlib import Path

import pytest
import torch

from muqrt.errors import CheckpointError, UsageError
from muqrt.training.data.crops import Skipped
from muqrt.training.loop.run import Run, State


def test_a_state_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"steps": 3})
    assert run.load_state() == State()
    weights = {"a": torch.arange(3.0), "b": torch.tensor(2)}
    run.save_state(State(2, 1.5, [{"step": 2, "loss": 0.5}], {"weights": weights}))
    state = Run(tmp_path / "run", {"steps": 3}).load_state()
    assert (state.step, state.seconds, state.history) == (2, 1.5, [{"step": 2, "loss": 0.5}])
    assert all(torch.equal(state.tensors["weights"][name], weights[name]) for name in weights)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Run(tmp_path / "run", {"steps": 3, "seed": 0})
    with pytest.raises(UsageError, match=r"other settings \(seed was 0, is 1\)"):
        Run(tmp_path / "run", {"steps": 3, "seed": 1})


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something other"):
        Run(tmp_path, {})
    with pytest.raises(UsageError, match="holds something other"):
        Run(tmp_path / "notes.txt", {})


def test_a_broken_state_says_how_to_go_on(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {})
    run.save_state(State(1, tensors={"weights": {"a": torch.zeros(1)}}))
    (run.folder / "state" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="Remove it to start over"):
        run.load_state()


def test_each_file_is_listed_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {})
    run.skip([Skipped(Path("a.wav"), "silent"), Skipped(Path("b.wav"), "broken")])
    again = Run(tmp_path / "run", {})
    again.skip([Skipped(Path("a.wav"), "silent from 3.0 s on")])
    assert again.skipped() == [Skipped(Path("a.wav"), "silent"), Skipped(Path("b.wav"), "broken")]


def test_a_line_cut_by_a_kill_is_no_obstacle(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {})
    run.skip([Skipped(Path("a.wav"), "silent")])
    with (run.folder / "skipped.jsonl").open("a") as file:
        file.write('{"audio": "b.w')
    assert len(Run(tmp_path / "run", {}).skipped()) == 1
