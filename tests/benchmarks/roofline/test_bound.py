"""The roofline by hand, and the table of GPUs."""

import dataclasses
import re

import pytest
from typer.main import get_command

from muqrt.benchmarks.roofline.bound import bounds, total
from muqrt.benchmarks.roofline.gpus import Gpu, gpu_named, gpu_of_driver, gpus
from muqrt.benchmarks.roofline.values import Value
from muqrt.benchmarks.roofline.work import BYTES, Group
from muqrt.cli.bench.estimate import commands
from muqrt.errors import UsageError

# 1e12 operations, 1e9 bytes a second; a cache of 1 MiB.
GPU = Gpu("hand-made", [], 1, 1, {"fp32": 1, "fp16": 2}, "source", "source")
CACHE = 2**20


def group(part: str, fp32: int = 0, weights: int = 0, reads: int = 0, writes: int = 0) -> Group:
    found = Group(part, {"fp32": fp32} if fp32 else {}, weights)
    found.read_bytes = {Value("x", 1, (reads,)): reads} if reads else {}
    found.written_bytes = {Value("y", 1, (writes,)): writes} if writes else {}
    return found


def test_a_part_takes_the_longer_of_arithmetic_and_traffic() -> None:
    computing = group("a", fp32=10**9, weights=10**6 + CACHE)
    [bound] = bounds([computing], GPU)
    assert bound.compute_seconds == pytest.approx(2e-3)
    assert bound.memory_seconds == pytest.approx(1e-3)
    assert (bound.seconds, bound.by) == (pytest.approx(2e-3), "compute")
    [bound] = bounds([dataclasses.replace(computing, weight_bytes=3 * 10**6 + CACHE)], GPU)
    assert (bound.seconds, bound.by) == (pytest.approx(3e-3), "memory")


def test_what_the_cache_holds_is_not_read_again() -> None:
    [small] = bounds([group("a", weights=CACHE, reads=CACHE, writes=CACHE)], GPU)
    assert (small.seconds, small.by) == (0, "-")
    assert (small.weight_bytes, small.result_bytes) == (CACHE, 2 * CACHE)
    [large] = bounds([group("a", reads=CACHE + 10**6, writes=CACHE + 10**6)], GPU)
    assert large.seconds == pytest.approx(2e-3)


def test_the_cache_is_shared_by_all_weights() -> None:
    parts = bounds([group("a", weights=CACHE), group("b", weights=3 * CACHE)], GPU)
    assert total(parts).memory_seconds == pytest.approx(3 * CACHE / 1e9)
    assert parts[1].memory_seconds == pytest.approx(3 * parts[0].memory_seconds)


def test_groups_of_a_part_follow_one_another() -> None:
    """Neither half of a part may hide behind the other's bound."""
    computes, reads = group("a", fp32=10**9), group("a", reads=2 * 10**6 + CACHE)
    [bound] = bounds([computes, reads], GPU)
    assert bound.compute_seconds == pytest.approx(2e-3)
    assert bound.memory_seconds == pytest.approx(2e-3)
    assert bound.seconds == pytest.approx(4e-3)


def test_precisions_have_their_own_rates() -> None:
    mixed = Group("a", {"fp32": 10**9, "fp16": 10**9})
    [bound] = bounds([mixed], GPU)
    assert bound.flops == {"fp32": 2 * 10**9, "fp16": 2 * 10**9}
    assert bound.seconds == pytest.approx(3e-3)
    with pytest.raises(UsageError, match="no rate is published for fp8; choose one of: fp32, fp16"):
        bounds([Group("a", {"fp8": 1})], GPU)


def test_float32_may_be_three_products_in_tf32() -> None:
    with_tf32 = dataclasses.replace(GPU, tera_per_second={"fp32": 1, "tf32": 6})
    assert with_tf32.rate("fp32") == 2e12
    assert dataclasses.replace(GPU, tera_per_second={"fp32": 1, "tf32": 2}).rate("fp32") == 1e12


@pytest.mark.parametrize("name", gpus())
def test_the_figures_of_a_gpu_fit_together(name: str) -> None:
    gpu = gpus()[name]
    rates = gpu.tera_per_second
    assert set(rates) <= set(BYTES) and {"fp32", "fp16", "int8"} <= set(rates)
    for source in (gpu.source, gpu.l2_source):
        assert re.match(r"https://(\w+\.)?nvidia\.com/\S+$", source)
    # Dense: on every tensor core, half the bits are twice the rate.
    assert rates["int8"] == pytest.approx(2 * rates["fp16"], rel=0.02)
    assert rates.get("fp8", rates["int8"]) == rates["int8"]
    assert gpu_of_driver(gpu.driver_names[0]) is gpu_named(name.upper()) is gpu


def test_an_unknown_gpu_lists_the_known() -> None:
    with pytest.raises(UsageError, match=f"choose one of: {', '.join(gpus())}") as caught:
        gpu_named("l5")
    assert caught.value.exit_code == 2
    assert gpu_of_driver("NVIDIA A10G") is None


def test_the_help_names_every_gpu() -> None:
    [option] = (each for each in get_command(commands).params if each.name == "gpu")
    text = str(option.help)  # type: ignore[attr-defined]
    assert re.findall(r"\b[a-z]*\d+s?\b", text) == list(gpus())
