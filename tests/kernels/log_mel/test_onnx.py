"""The function's parts, and what its callers rely on."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from muqrt.kernels.log_mel import contract as mel
from muqrt.kernels.log_mel.onnx import NAME, log_mel_function
from muqrt.kernels.log_mel.tables import tables
from muqrt.kernels.onnx_nodes import DOMAIN

OPSET = 18
WARNING = 2  # and worse, as ONNX Runtime logs by default
rng = np.random.default_rng(0)


def one_node(inputs: list[str], initializers: list[onnx.TensorProto]) -> bytes:
    """A model of the operator alone."""
    node = helper.make_node(NAME, inputs, ["log_mel"], domain=DOMAIN, mean_db=0.0, std_db=1.0)
    shapes = {"waveform": ["batch", "samples"], "log_mel": ["batch", 128, "frames"]}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph([node], "log_mel", values[:1], values[1:], initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[log_mel_function(OPSET)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def test_the_two_stages_are_the_dft() -> None:
    frame = rng.normal(size=mel.WINDOW_SAMPLES)
    phases = frame.reshape(mel.POINTS, mel.PHASES).T
    kernel = mel.first_stage().reshape(mel.PHASES, 2 * mel.COLUMNS, mel.POINTS)
    columns = np.einsum("bca,ba->bc", kernel, phases).reshape(2 * mel.PHASES, mel.COLUMNS)
    real, imaginary = np.split(mel.second_stage() @ columns, 2)
    power = (real**2 + imaginary**2).ravel()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    expected = (np.abs(np.fft.rfft(frame * hann)) ** 2) @ mel.mel_filterbank()
    np.testing.assert_allclose(mel.mel_projection() @ power, expected, rtol=1e-11)


def test_every_bin_is_projected_exactly_once() -> None:
    np.testing.assert_allclose(mel.mel_projection().sum(1), mel.mel_filterbank().sum(0))


def test_columns_come_in_fours_as_webgpu_needs_and_the_last_weighs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waveform = {"waveform": rng.normal(size=(1, 24_000)).astype(np.float32)}
    outputs = []
    for columns in mel.COLUMNS, 65:  # which graphs of older bundles have
        monkeypatch.setattr(mel, "COLUMNS", columns)
        session = ort.InferenceSession(one_node(["waveform"], []))
        outputs.append(session.run(None, waveform)[0])
    monkeypatch.undo()
    assert 2 * mel.COLUMNS % 4 == 0
    np.testing.assert_allclose(*outputs, atol=1e-4)  # dB


def test_mean_and_deviation_are_attributes() -> None:
    nodes = log_mel_function(OPSET).node
    references = {each.ref_attr_name for node in nodes for each in node.attribute}
    assert references == {"", "mean_db", "std_db"}


def test_the_fused_kernels_tables_cost_a_plain_runtime_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = WARNING
    waveform = rng.normal(size=(1, 2000)).astype(np.float32)
    outputs = []
    for initializers in [], [numpy_helper.from_array(tables(), "tables")]:
        model = one_node(["waveform", *(each.name for each in initializers)], initializers)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"waveform": waveform})[0])
    np.testing.assert_array_equal(*outputs)
    assert capfd.readouterr() == ("", "")
