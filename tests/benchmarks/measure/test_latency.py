"""Cells, answers that are checked before they are timed, and contenders that do not start."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muqrt.benchmarks.measure.contenders import (
    COMPILED,
    COMPILED_BF16,
    PLAIN_ONNX,
    Contender,
    States,
    compiled,
    eager,
    from_artefact,
    hidden_states,
    plain_onnx,
)
from muqrt.benchmarks.measure.latency import Cell, measure_cell, music
from muqrt.benchmarks.measure.timing import EAGER
from muqrt.errors import ParityError
from muqrt.export.graph.saving import save_onnx
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.manifest import load_bundle

CELL = Cell(0.2, 2)


@pytest.fixture(scope="module")
def states(tiny_checkpoint: Path) -> States:
    return hidden_states(load_checkpoint(tiny_checkpoint).model, music(CELL))


@pytest.fixture(scope="module")
def contenders(tiny_bundle: Path, tiny_checkpoint: Path) -> list[Contender]:
    bundle = load_bundle(tiny_bundle)
    return [
        eager(load_checkpoint(tiny_checkpoint).model, 1),
        from_artefact(bundle, bundle.artefact(), 1),
    ]


def changed(contender: Contender, run: Callable[..., object], **facts: object) -> Contender:
    return dataclasses.replace(contender, run=run, **facts)


def test_music_is_different_in_every_row() -> None:
    waveform = music(Cell(2.0, 3))
    assert waveform.shape == (3, 48_000)
    assert waveform.dtype == np.float32
    assert len({row.tobytes() for row in waveform}) == 3
    assert all(np.abs(row).max() > 0.01 for row in waveform)


def test_music_loops_where_the_window_is_longer() -> None:
    assert music(Cell(60.0, 1)).shape == (1, 1_440_000)


def test_every_contender_is_timed_and_checked(contenders: list[Contender], states: States) -> None:
    baseline, ours = measure_cell(CELL, 1, contenders, states, 5, {})
    assert baseline.contender == EAGER
    assert (baseline.speedup, baseline.relative_l2) == (1.0, 0.0)
    assert ours.matches
    assert 0 < ours.relative_l2 < 1e-4
    assert ours.p10_seconds <= ours.median_seconds <= ours.p90_seconds
    assert ours.audio_seconds_per_second == pytest.approx(0.4 / ours.median_seconds)
    assert 0 <= ours.neighbours_share <= 1


def test_a_wrong_answer_is_not_timed(contenders: list[Contender], states: States) -> None:
    reference, ours = contenders
    wrong = changed(ours, lambda waveform: [1.01 * x + 0.1 for x in ours.run(waveform)])
    with pytest.raises(ParityError, match="not the reference's numbers"):
        measure_cell(CELL, 1, [reference, wrong], states, 5, {})
    _, marked = measure_cell(CELL, 1, [reference, wrong], states, 5, {}, allow_uncertified=True)
    assert not marked.matches


def test_a_nan_is_not_timed(contenders: list[Contender], states: States) -> None:
    reference, ours = contenders
    broken = changed(ours, lambda waveform: [x * np.nan for x in ours.run(waveform)])
    with pytest.raises(ParityError):
        measure_cell(CELL, 1, [reference, broken], states, 5, {})


def failing(waveform: np.ndarray) -> list[np.ndarray]:
    raise RuntimeError("no C++ compiler\nand a long trace")


def test_an_optional_contender_may_fail_to_start(
    contenders: list[Contender], states: States
) -> None:
    reference, ours = contenders
    unavailable: dict[str, str] = {}
    optional = changed(ours, failing, optional=True, name="torch.compile")
    found = measure_cell(CELL, 1, [reference, optional, ours], states, 5, unavailable)
    assert [each.contender for each in found] == [EAGER, ours.name]
    assert unavailable == {"torch.compile": "RuntimeError: no C++ compiler"}


def test_any_other_contender_may_not(contenders: list[Contender], states: States) -> None:
    reference, ours = contenders
    with pytest.raises(RuntimeError):
        measure_cell(CELL, 1, [reference, changed(ours, failing)], states, 5, {})


def test_an_optional_contender_is_reported_with_its_error(
    contenders: list[Contender], states: States
) -> None:
    reference, ours = contenders
    lossy = changed(ours, lambda waveform: [1.01 * x for x in ours.run(waveform)], optional=True)
    _, found = measure_cell(CELL, 1, [reference, lossy], states, 2, {})
    assert not found.matches
    assert found.relative_l2 == pytest.approx(0.01, rel=1e-3)


def test_the_plain_graph_is_the_reference(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = load_checkpoint(tiny_checkpoint).model
    path = tmp_path / "plain.onnx"
    save_onnx(onnx_from_checkpoint(model, ["features"], level=3, target="any"), path)
    contenders = [eager(model, 1), plain_onnx(path, 3, 1)]
    _, found = measure_cell(CELL, 1, contenders, hidden_states(model, music(CELL)), 2, {})
    assert found.contender == PLAIN_ONNX
    assert found.matches


@pytest.mark.slow
@pytest.mark.full
def test_torch_compile_takes_part() -> None:
    model = random_model(dataclasses.replace(TINY, encoder_depth=1))
    unavailable: dict[str, str] = {}
    contenders = [eager(model, 1), compiled(model, 1), compiled(model, 1, "bf16")]
    states = hidden_states(model, music(CELL))
    _, fp32, bf16 = measure_cell(CELL, 1, contenders, states, 2, unavailable)
    assert unavailable == {}
    assert [fp32.contender, bf16.contender] == [COMPILED, COMPILED_BF16]
    for found in (fp32, bf16):
        # Compiled once: neither has thrown the other's away.
        assert found.first_call_seconds > 5 * max(found.samples_seconds)
    assert fp32.matches
    assert 1e-3 < bf16.relative_l2 < 0.1
