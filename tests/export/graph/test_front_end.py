from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.export.graph.front_end import front_end
from muqrt.export.graph.writer import Graph
from muqrt.kernels.log_mel.contract import MELS
from muqrt.reference.front_end import Conv2dSubsampling
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.record import TensorSpec


class Forms(NamedTuple):
    reference: Conv2dSubsampling  # float64
    tiled: ort.InferenceSession
    direct: ort.InferenceSession


def model(module: Conv2dSubsampling, winograd: bool) -> onnx.ModelProto:
    graph = Graph()
    graph.rename(front_end(graph, module, "log_mel", winograd), "frames")
    log_mel = TensorSpec(name="log_mel", dtype="float32", shape=["batch", MELS, "frames"])
    frames = TensorSpec(name="frames", dtype="float32", shape=["batch", "steps", "width"])
    return graph.model([log_mel], [frames])


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=[25, 50])
def forms(request: pytest.FixtureRequest) -> Forms:
    config = replace(TINY, label_rate=request.param)
    module = random_model(config).model.conv
    tiled, direct = (session(model(module, winograd)) for winograd in (True, False))
    return Forms(module.double(), tiled, direct)


def relative(ours: np.ndarray, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))


@given(batch=st.integers(1, 3), frames=st.integers(5, 60))
@settings(max_examples=12, deadline=None)
def test_both_forms_are_the_reference(forms: Forms, batch: int, frames: int) -> None:
    noise = np.random.default_rng(frames).normal(size=(batch, MELS, frames)).astype(np.float32)
    with torch.inference_mode():
        expected = forms.reference(torch.from_numpy(noise).double()).numpy()
    (tiled,) = forms.tiled.run(None, {"log_mel": noise})
    (direct,) = forms.direct.run(None, {"log_mel": noise})
    assert relative(direct, expected) < 1e-6
    assert relative(tiled, expected) < 4e-6
    assert relative(tiled, direct) < 4e-6


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6, 47, 48, 49])
def test_the_ends_of_tiles(forms: Forms, frames: int) -> None:
    noise = np.random.default_rng(frames).normal(size=(2, MELS, frames)).astype(np.float32)
    (tiled,) = forms.tiled.run(None, {"log_mel": noise})
    (direct,) = forms.direct.run(None, {"log_mel": noise})
    assert relative(tiled, direct) < 4e-6


def test_nothing_is_convolved_in_tiled_form() -> None:
    written = model(random_model(TINY).model.conv, winograd=True)
    onnx.checker.check_model(written, full_check=True)
    operators = {node.op_type for node in written.graph.node}
    assert "Conv" not in operators
    assert not operators & {"Loop", "Scan", "If"}
    assert {node.domain for node in written.graph.node} == {""}
