"""Multiply-adds against torch's own count, and rates by hand."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from muqrt.benchmarks.measure.latency import Cell, Latency
from muqrt.benchmarks.model.arithmetic import Arithmetic, multiply_adds, rates
from muqrt.benchmarks.model.instruction_sets import InstructionSetRate
from muqrt.benchmarks.model.operators import OperatorTime
from muqrt.benchmarks.model.tables import operators
from muqrt.reference.config import MuQConfig
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import LARGE, TINY

AT_50_HZ = dataclasses.replace(TINY, label_rate=50, encoder_depth=2)


@pytest.mark.parametrize("config", [TINY, AT_50_HZ, LARGE], ids=["tiny", "50 Hz", "released"])
@pytest.mark.parametrize("cell", [Cell(10.0, 1), Cell(0.47, 3)], ids=str)
def test_the_count_is_torchs(config: MuQConfig, cell: Cell) -> None:
    frames = round(100 * cell.window_seconds)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = MuQ(config).eval().model
        model.conformer(model.conv(torch.empty(cell.batch, 128, frames)))
    # Two operations to a multiply-add.
    assert 2 * sum(multiply_adds(config, cell).values()) == counter.get_total_flops()


def test_the_released_model() -> None:
    """10 s cost 137 GMAC in the front end and 74 in the conformer."""
    work = multiply_adds(LARGE, Cell(10.0, 1))
    front_end = work.pop("front end")
    assert front_end == pytest.approx(136.6e9, rel=1e-3)
    assert sum(work.values()) == pytest.approx(74.0e9, rel=1e-3)


def test_a_lower_level_leaves_layers_out() -> None:
    cell = Cell(2.0, 1)
    whole, half = multiply_adds(TINY, cell), multiply_adds(TINY, cell, level=6)
    assert half.pop("front end") == whole.pop("front end")
    assert {part: 2 * count for part, count in half.items()} == whole


def latency(contender: str, precision: str, seconds: float) -> Latency:
    unused = dict.fromkeys((each.name for each in dataclasses.fields(Latency)), 0)
    facts = {"contender": contender, "precision": precision, "median_seconds": seconds}
    return Latency(**{**unused, **facts})  # type: ignore[arg-type]


def test_rates_by_hand() -> None:
    peaks = {"fp32 product of matrices": 100.0, "int8 product of matrices": 400.0}
    latencies = [latency("a", "fp32", 2.0), latency("b", "int8", 0.5), latency("c", "fp8", 1.0)]
    found = rates({"front end": 60, "attention": 40}, peaks, latencies)
    assert [each.flops_per_second for each in found] == [100, 400, 200]
    assert [each.share_of_peak for each in found] == [1.0, 1.0, None]


def test_the_peak_is_the_fastest_librarys() -> None:
    peaks = {"fp32 product of matrices": 100.0}
    sets = [InstructionSetRate("AVX2", "fp32", 80.0), InstructionSetRate("AVX-512", "fp32", 160.0)]
    (found,) = rates({"front end": 80}, peaks, [latency("a", "fp32", 2.0)], sets)
    assert found.share_of_peak == 0.5


def test_each_part_has_its_share_of_the_peak() -> None:
    sets = [InstructionSetRate("AVX2", "int8", 4e9)]
    work = {"front end": 10**9, "attention": 10**9}
    found = Arithmetic(10.0, 1, 2, work, {"fp32 product of matrices": 2e9}, [], sets)
    times = [
        OperatorTime("a", "front end", "MatMul", 1, 0.5),
        OperatorTime("a", "front end", "Add", 1, 0.5),
        OperatorTime("b", "attention", "MatMul", 1, 2.0),
    ]
    section, _ = operators(times, found, {"a": "int8", "b": "fp32"})
    assert section.columns[-2:] == ["a, GFLOP/s", "b, GFLOP/s"]
    assert [row[-2:] for row in section.rows] == [["2 (50%)", ""], ["", "1 (50%)"]]
