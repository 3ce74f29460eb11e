"""Long inputs in blocks of time give what they give in one piece."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.export import onnx_from_checkpoint as whole_graph
from muqrt.export.bundle.parts import part
from muqrt.export.graph import conformer, front_end
from muqrt.export.graph.blocks import Blocks
from muqrt.export.onnx_from_checkpoint import INPUT, onnx_from_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.parts import FRAMES, frames_spec
from muqrt.runtime.bundle.record import TensorSpec

# A length that is whole, and blocks of longer ones: in steps.
WHOLE, LONGEST = 9, 4
HOP_SAMPLES = 240


class Forms(NamedTuple):
    frames_per_step: int
    blocked: ort.InferenceSession
    parts: tuple[ort.InferenceSession, ort.InferenceSession]
    plain: ort.InferenceSession


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=[25, 50])
def forms(request: pytest.FixtureRequest) -> Forms:
    config = replace(TINY, label_rate=request.param, encoder_depth=2)
    model, per_step = random_model(config), config.frames_per_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformer, "_QUERIES", Blocks(WHOLE, LONGEST))
        patch.setattr(front_end, "_WHOLE_FRAMES", WHOLE * per_step)
        patch.setattr(front_end, "_BLOCK_FRAMES", LONGEST * per_step)
        written = onnx_from_checkpoint(model, ["features"])
        patch.setattr(whole_graph, "over_time", lambda graph, x, steps, width, write: write(x))
        patch.setattr(conformer, "in_blocks", _in_one_piece)
        plain = onnx_from_checkpoint(model, ["features"])
    onnx.checker.check_model(written, full_check=True)
    assert sum(node.op_type == "Loop" for node in written.graph.node) == 1 + 2
    assert not any(node.op_type == "Loop" for node in plain.graph.node)
    frames = [frames_spec(config.encoder_dim)]
    features = [TensorSpec(name="features", dtype="float32", shape=["batch", "steps", "width"])]
    parts = part(written, [INPUT], frames), part(written, frames, features)
    first, second = map(session, parts)
    return Forms(per_step, session(written), (first, second), session(plain))


def _in_one_piece(graph, blocks, steps, empty, axis, block):  # type: ignore[no-untyped-def]
    return block(graph.constant([0]), steps)


def difference(ours: np.ndarray, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@given(batch=st.integers(1, 2), frames=st.integers(5, 150), more=st.integers(0, HOP_SAMPLES - 1))
@settings(max_examples=25, deadline=None)
def test_blocks_join_to_the_whole(forms: Forms, batch: int, frames: int, more: int) -> None:
    samples = frames * HOP_SAMPLES + more
    noise = np.random.default_rng(samples).normal(0, 0.1, (batch, samples)).astype(np.float32)
    (expected,) = forms.plain.run(None, {INPUT.name: noise})
    (ours,) = forms.blocked.run(None, {INPUT.name: noise})
    assert difference(ours, expected) < 2e-5
    (between,) = forms.parts[0].run(None, {INPUT.name: noise})
    (apart,) = forms.parts[1].run(None, {FRAMES: between})
    assert difference(apart, expected) < 2e-5
    if ours.shape[1] <= WHOLE:
        assert np.array_equal(ours, expected)


@pytest.mark.full
@pytest.mark.parametrize("seconds", [31.7, 75.01])
def test_the_blocks_of_real_windows(tiny: MuQ, seconds: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(seconds * 24_000)))
    waveform = noise.astype(np.float32)
    (ours,) = session(onnx_from_checkpoint(tiny, ["features"])).run(None, {INPUT.name: waveform})
    with torch.inference_mode():
        expected = tiny(torch.from_numpy(waveform)).hidden_states[-1].numpy()
    assert difference(ours, expected) < 2e-5


def test_a_halo_that_is_too_short_shows(forms: Forms, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, label_rate=100 // forms.frames_per_step, encoder_depth=2)
    monkeypatch.setattr(front_end, "_WHOLE_FRAMES", WHOLE * forms.frames_per_step)
    monkeypatch.setattr(front_end, "_BLOCK_FRAMES", LONGEST * forms.frames_per_step)
    monkeypatch.setattr(front_end, "_REACH_FRAMES", -2)
    short = session(onnx_from_checkpoint(random_model(config), ["features"]))
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 24_000)).astype(np.float32)
    (expected,), (ours,) = (each.run(None, {INPUT.name: noise}) for each in (forms.plain, short))
    assert difference(ours, expected) > 1e-3
