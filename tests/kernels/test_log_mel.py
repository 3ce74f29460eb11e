import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from muqrt.kernels import log_mel as mel
from muqrt.kernels.log_mel_onnx import DOMAIN, NAME, log_mel_function

OPSET = 18
# In dB from a float64 transform, by how far a band lies below its frame's loudest one. Further
# down fp32 holds rounding noise only, torch.stft's as well.
TOLERANCES_DB = {40: 1e-4, 60: 1e-3, 80: 1e-2}
rng = np.random.default_rng(0)


def naive_log_mel(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (128, frames) dB, in float64."""
    padded = np.pad(waveform.astype(np.float64), mel.PAD_SAMPLES, mode="reflect")
    time = np.arange(mel.WINDOW_SAMPLES)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / mel.WINDOW_SAMPLES)
    frames = range(len(waveform) // mel.HOP_SAMPLES)
    power = [
        np.abs(np.fft.rfft(padded[240 * f :][: mel.WINDOW_SAMPLES] * hann)) ** 2 for f in frames
    ]
    return 10 * np.log10(np.maximum(np.array(power) @ mel.mel_filterbank(), mel.FLOOR)).T


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    node = helper.make_node(NAME, ["waveform"], ["log_mel"], domain=DOMAIN, mean_db=0.0, std_db=1.0)
    graph = helper.make_graph(
        [node],
        "log_mel",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])],
        [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", 128, "frames"])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[log_mel_function(OPSET)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def tune(samples: int) -> np.ndarray:
    """A chord with overtones over 16-bit noise."""
    time = np.arange(samples) / mel.SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * n * time) / n for f in (110, 277, 330) for n in range(1, 30))
    return (0.05 * tones + rng.normal(0, 2**-15, samples)).astype(np.float32)


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    assert np.isfinite(ours).all()
    below_peak = expected.max(axis=-2, keepdims=True) - expected
    for depth, tolerance in TOLERANCES_DB.items():
        assert np.abs(ours - expected)[below_peak <= depth].max() <= tolerance


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


@pytest.mark.parametrize("samples", [1025, 1199, 1200, 1201, 2047, 2048, 24_001, 33_333])
def test_odd_lengths(session: ort.InferenceSession, samples: int) -> None:
    waveform = tune(samples)
    (ours,) = session.run(None, {"waveform": waveform[None]})
    assert_close(ours[0], naive_log_mel(waveform))


@given(batch=st.integers(1, 4), samples=st.integers(1025, 6000))
@settings(max_examples=20, deadline=None)
def test_any_batch_and_length(session: ort.InferenceSession, batch: int, samples: int) -> None:
    waveforms = np.stack([tune(samples) * 10.0**-row for row in range(batch)])
    (ours,) = session.run(None, {"waveform": waveforms})
    for row, waveform in zip(ours, waveforms, strict=True):
        assert_close(row, naive_log_mel(waveform))


def test_silence_is_the_floor(session: ort.InferenceSession) -> None:
    (ours,) = session.run(None, {"waveform": np.zeros((2, 5000), dtype=np.float32)})
    np.testing.assert_allclose(ours, -100.0, atol=1e-4)


def test_a_full_scale_square_wave(session: ort.InferenceSession) -> None:
    waveform = np.sign(np.sin(2 * np.pi * 100.3 * np.arange(24_000) / 24_000)).astype(np.float32)
    (ours,) = session.run(None, {"waveform": waveform[None]})
    assert_close(ours[0], naive_log_mel(waveform))


def test_mean_and_deviation_are_attributes() -> None:
    nodes = log_mel_function(OPSET).node
    references = {each.ref_attr_name for node in nodes for each in node.attribute}
    assert references == {"", "mean_db", "std_db"}
