"""What is measured by default, with --cpu and without."""

from pathlib import Path

import pytest
import torch

from muqrt.benchmarks.measure.latency import Cell
from muqrt.benchmarks.model.plan import BenchmarkPlan, plan
from muqrt.benchmarks.model.request import BenchmarkRequest
from muqrt.common.environment import instruction_sets
from muqrt.errors import MissingDependencyError, UsageError


def planned(bundle: Path, **options: object) -> BenchmarkPlan:
    return plan(bundle, "checkpoint", BenchmarkRequest(**{"threads": "1,2", **options}))


def test_without_cpu_it_is_the_whole_grid(tiny_bundle: Path) -> None:
    found = planned(tiny_bundle)
    grid = [Cell(window, batch) for batch in (1, 4) for window in (5, 10, 30)]
    assert found.cells == {1: grid, 2: grid}
    assert found.compiled == grid
    assert (found.rounds, found.hops, found.songs, found.profiled) == (10, 0, 0, [])
    # 12 inputs, 3 fresh processes of 3 contenders.
    assert found.steps == 12 + 9


def test_with_cpu_one_thing_changes_at_a_time(tiny_bundle: Path) -> None:
    found = planned(tiny_bundle, cpu=True)
    base = Cell(10, 1)
    assert found.cells == {1: [base], 2: [Cell(5, 1), base, Cell(30, 1), Cell(10, 4)]}
    assert (found.base, found.threads, found.compiled) == (base, 2, [base])
    assert (found.rounds, found.hops, found.songs) == (5, 5, 2)
    assert [each.name for each in found.profiled] == ["onnx-fp32"]
    # 5 inputs, 9 fresh processes, a profile, the peaks and those of each instruction set,
    # 2 live streams, 2 songs for 3.
    assert found.steps == 5 + 9 + 1 + 1 + len(instruction_sets()) + 2 + 6


def test_options_go_before_what_cpu_means(tiny_bundle: Path) -> None:
    found = planned(tiny_bundle, cpu=True, windows="1,2", batches="3", rounds=2, songs=0)
    assert found.cells == {1: [Cell(2, 3)], 2: [Cell(1, 3), Cell(2, 3)]}
    assert (found.rounds, found.songs) == (2, 0)
    assert planned(tiny_bundle, compiles=False).compiled == []
    assert planned(tiny_bundle, compile_batches="4").compiled == [Cell(w, 4) for w in (5, 10, 30)]


def test_on_a_gpu_one_thing_changes_at_a_time(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    opened: list[object] = []
    monkeypatch.setattr(
        "muqrt.benchmarks.model.plan._openable",
        lambda bundle, device: opened.append(device) or (bundle.artefacts, {}),
    )
    found = planned(tiny_bundle, device="cuda", threads="2")
    lengths, sizes = [Cell(5, 1), Cell(10, 1), Cell(30, 1)], [Cell(10, 8), Cell(10, 32)]
    assert found.cells == {2: [*lengths, *sizes]}
    assert (found.base, found.counted) == (Cell(10, 1), [Cell(10, 1), Cell(10, 32)])
    assert (found.rounds, found.compiled, opened) == (100, [Cell(10, 1)], ["cuda"])
    assert (found.songs, found.hops, found.profiled, found.plain_onnx) == (0, 0, [], False)


def test_a_gpu_that_is_not_there(tiny_bundle: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match="no CUDA device"):
        planned(tiny_bundle, device="cuda")
    with pytest.raises(UsageError, match="choose cpu or cuda"):
        planned(tiny_bundle, device="tpu")
    with pytest.raises(UsageError, match="not for --device cuda"):
        planned(tiny_bundle, device="cuda", cpu=True)


def test_songs_without_librosa(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muqrt.benchmarks.model.plan.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="--songs 0"):
        planned(tiny_bundle, cpu=True)
    assert planned(tiny_bundle).songs == 0
