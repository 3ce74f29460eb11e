"""Measured latencies beside the bound."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muqrt.benchmarks.measure.latency import Latency
from muqrt.benchmarks.model import run, tables
from muqrt.benchmarks.roofline.bound import bounds, total
from muqrt.benchmarks.roofline.choose import choose, counted_groups
from muqrt.benchmarks.roofline.gpus import gpu_named
from muqrt.benchmarks.roofline.shares import shares
from muqrt.runtime.bundle.manifest import load_bundle

CELL = 1, 2.0


def latency(contender: str, precision: str, seconds: float) -> Latency:
    unused = dict.fromkeys((each.name for each in dataclasses.fields(Latency)), 0)
    facts = {"contender": contender, "precision": precision, "median_seconds": seconds}
    cell = {"batch": CELL[0], "window_seconds": CELL[1], "samples_seconds": [seconds] * 3}
    return Latency(**{**unused, **facts, **cell})  # type: ignore[arg-type]


def test_a_share_is_the_bound_over_the_median(tagged_bundle: Path) -> None:
    bundle, gpu = load_bundle(tagged_bundle), gpu_named("l4")
    measured = [
        latency("PyTorch eager", "fp32", 1e-3),
        latency("onnx-fp32", "fp32", 2e-3),
        latency("torch-bf16", "bf16", 1e-3),
        latency("onnx-int4-weights", "int4-weights", 1e-3),
    ]
    found = shares(bundle, measured, gpu)
    assert [each.contender for each in found] == ["PyTorch eager", "onnx-fp32", "torch-bf16"]
    [groups] = counted_groups(bundle, choose(bundle), [CELL], ["features"])
    least = total(bounds(groups, gpu)).seconds
    assert found[0].bound_seconds == found[1].bound_seconds == pytest.approx(least)
    assert found[0].share == pytest.approx(least / 1e-3)
    assert found[1].share == pytest.approx(least / 2e-3)
    assert 0 < found[2].bound_seconds < least
    # The benchmark asks for features: the tags' work does not count.
    [whole] = counted_groups(bundle, choose(bundle), [CELL])
    assert total(bounds(whole, gpu)).flops["fp32"] > total(bounds(groups, gpu)).flops["fp32"]


def test_a_precision_that_the_gpu_lacks_has_no_share(tiny_bundle: Path) -> None:
    measured = [latency("torch-bf16", "bf16", 1.0), latency("onnx-fp32", "fp32", 1.0)]
    found = shares(load_bundle(tiny_bundle), measured, gpu_named("t4"))
    assert [each.contender for each in found] == ["onnx-fp32"]


def test_the_table_gets_a_column(tiny_bundle: Path) -> None:
    measured = [latency("onnx-int8", "int4-weights", 1.0), latency("onnx-fp32", "fp32", 1e-3)]
    found = shares(load_bundle(tiny_bundle), measured, gpu_named("h200"))
    plain = tables.latency("a GPU", measured, {})
    table = tables.latency("a GPU", measured, {}, found)
    assert table.columns == (*plain.columns, "share of the bound")
    assert [row[-1] for row in table.rows] == ["", f"{found[0].share:.0%}"]
    assert "muqrt estimate" in table.note and "muqrt estimate" not in plain.note


@pytest.mark.parametrize(
    ("device", "card", "known"),
    [
        ("cuda", "NVIDIA L4", True),
        ("cuda", "NVIDIA A10G", False),  # an A10 in name only
        ("cpu", "NVIDIA L4", False),
    ],
)
def test_only_a_gpu_with_published_figures_is_compared(
    device: str, card: str, known: bool, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "hardware_name", lambda device: card)
    plan: Any = SimpleNamespace(device=device, bundle=load_bundle(tiny_bundle))
    unavailable: dict[str, str] = {}
    found = run._bounds(plan, [latency("onnx-fp32", "fp32", 1.0)], unavailable)
    assert bool(found) == known and not unavailable


def test_a_graph_that_cannot_be_counted_costs_no_measurement(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    bundle.path(bundle.artefact().file).write_bytes(b"no graph")
    monkeypatch.setattr(run, "hardware_name", lambda device: "NVIDIA L4")
    plan: Any = SimpleNamespace(device="cuda", bundle=bundle)
    unavailable: dict[str, str] = {}
    assert run._bounds(plan, [latency("onnx-fp32", "fp32", 1.0)], unavailable) == []
    assert "cannot read this ONNX graph" in unavailable[tables.SHARE_OF_BOUND]
