"""Every implementation of LogMel against a float64 transform."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper

from muqrt.kernels.log_mel import contract as mel
from muqrt.kernels.log_mel import tables as layout
from muqrt.kernels.log_mel.onnx import NAME, log_mel_function
from muqrt.kernels.log_mel.torch import log_mel as operator
from muqrt.kernels.onnx_nodes import DOMAIN
from muqrt.runtime.audio import read as audio

from ..conftest import mostly_full

OPSET = 18
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# In dB from a float64 transform, by how far a band lies below its frame's loudest one. Further
# down fp32 holds rounding noise only, torch.stft's as well.
TOLERANCES_DB = {40: 1e-4, 60: 1e-3, 80: 1e-2}
# A kernel's program takes two frames of 240 samples: one, both and a half-filled one in turn.
LENGTHS = [1025, 1026, 1199, 1200, 1201, 1439, 1440, 1441, 2047, 2048, 3599, 3600]
OFFSETS = [
    layout.WINDOW,
    layout.FOURIER,
    layout.TWIDDLES,
    layout.ROTATIONS,
    layout.PLACES,
    layout.WEIGHTS,
]
SHAPES = [(2, 1024), (2, 32, 32), (2, 32, 32), (2, 2, 512), (32, 128), (2, 32, 128)]
rng = np.random.default_rng(0)
# (batch, samples) to (batch, 128, frames) dB.
Implementation = Callable[[np.ndarray], np.ndarray]
Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


def plain_torch(waveform: np.ndarray) -> np.ndarray:
    return operator(torch.from_numpy(waveform), 0.0, 1.0, torch.float32).numpy()


def plain_onnx() -> Implementation:
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
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda waveform: session.run(None, {"waveform": waveform})[0]


def fused() -> Implementation:
    pytest.importorskip("triton", reason="Triton, which runs the kernel, is not installed")
    from muqrt.kernels.log_mel.triton import log_mel

    return lambda x: log_mel(torch.from_numpy(x).to(DEVICE), 0.0, 1.0).cpu().numpy()


def tf32(x: np.ndarray) -> np.ndarray:
    """The nearest number with 10 bits after the point."""
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def accumulated(total: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """total + a @ b, eight products at a time, each sum cut off to float32 as tensor cores do."""
    for k in range(0, a.shape[-1], 8):
        exact = total + a[..., k : k + 8].astype(np.float64) @ b[k : k + 8].astype(np.float64)
        rounded = exact.astype(np.float32)
        total = np.where(np.abs(rounded) > np.abs(exact), np.nextafter(rounded, 0), rounded)
    return total


def tf32x1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return accumulated(np.zeros((), np.float32), tf32(a), tf32(b))


def tf32x3(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Three products, as Triton compiles them: small ones first."""
    small = accumulated(np.zeros((), np.float32), tf32(a - tf32(a)), tf32(b))
    return accumulated(accumulated(small, tf32(a), tf32(b - tf32(b))), tf32(a), tf32(b))


def kernel_by(product: Product, waveform: np.ndarray) -> np.ndarray:
    """The kernel's steps, in numpy: (batch, samples) to (batch, 128, frames) dB."""
    constants = np.split(layout.tables(), [*OFFSETS, layout.SIZE][1:])[: len(OFFSETS)]
    window, fourier, twiddles, rotations, places, weights = map(np.reshape, constants, SHAPES)
    padded = np.pad(waveform, [(0, 0), (mel.PAD_SAMPLES,) * 2], mode="reflect")
    frames = sliding_window_view(padded, mel.WINDOW_SAMPLES, axis=1)[:, :-240:240]
    halves, middle = [], np.float32(0)
    for half in 0, 1:
        x = frames[..., half::2] * window[half]
        middle += (x[..., ::2].sum(-1) - x[..., 1::2].sum(-1)) ** 2
        x = x.reshape(*x.shape[:2], 32, 32).swapaxes(2, 3)
        y = twiddles[0] + 1j * twiddles[1]
        y = (y * (product(x, fourier[0]) + 1j * product(x, fourier[1]))).swapaxes(2, 3)
        real, imaginary = np.ascontiguousarray(y.real), np.ascontiguousarray(y.imag)
        cosine, sine = fourier[..., :16].copy()
        z = product(real, cosine) - product(imaginary, sine)
        z = z + 1j * (product(real, sine) + product(imaginary, cosine))
        halves.append(z.reshape(*x.shape[:2], 512) * (rotations[half, 0] + 1j * rotations[half, 1]))
    low, high = np.abs(halves[0] + halves[1]) ** 2, np.abs(halves[0] - halves[1]) ** 2
    high[..., 0] = middle
    heard = np.stack([low, high], -1).reshape(*low.shape[:2], 1024)[..., places.astype(int)]
    lower, upper = ((heard * share).sum(-2) for share in weights)
    lower[..., 1:] += upper[..., :-1]
    return 10 * np.log10(np.maximum(lower, np.float32(mel.FLOOR))).swapaxes(1, 2)


@pytest.fixture(scope="module", params=["torch", "onnx", "tf32x3", "fused"])
def log_mel(request: pytest.FixtureRequest) -> Implementation:
    made = {"onnx": plain_onnx, "fused": fused}
    if request.param in made:
        return made[request.param]()
    return plain_torch if request.param == "torch" else partial(kernel_by, tf32x3)


@pytest.fixture(scope="module")
def songs(music: Path) -> np.ndarray:
    """(4, 4319): some tenths of a second from the middle of each piece."""
    songs = [audio.load(path) for path in sorted(music.glob("*_*.*"))]
    return np.stack([song[len(song) // 2 :][:4319] for song in songs])


def tune(samples: int) -> np.ndarray:
    """A chord with overtones over 16-bit noise."""
    time = np.arange(samples) / mel.SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * n * time) / n for f in (110, 277, 330) for n in range(1, 30))
    return (0.05 * tones + rng.normal(0, 2**-15, samples)).astype(np.float32)


def assert_close(ours: np.ndarray, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    assert ours.dtype == np.float32
    assert np.isfinite(ours).all()
    below_peak = expected.max(axis=-2, keepdims=True) - expected
    for depth, tolerance in TOLERANCES_DB.items():
        assert np.abs(ours - expected)[below_peak <= depth].max() <= tolerance


@pytest.mark.parametrize("samples", mostly_full(LENGTHS, 1025, 1200, 1441, 2048))
def test_odd_lengths(log_mel: Implementation, samples: int) -> None:
    waveform = tune(samples)
    assert_close(log_mel(waveform[None])[0], naive_log_mel(waveform))


@pytest.mark.parametrize("batch", mostly_full(range(1, 8), 2, 7))
def test_every_row_is_its_own(log_mel: Implementation, batch: int) -> None:
    waveforms = np.stack([tune(1300) * 10.0**-row for row in range(batch)]).astype(np.float32)
    for row, waveform in zip(log_mel(waveforms), waveforms, strict=True):
        assert_close(row, naive_log_mel(waveform))


@given(batch=st.integers(1, 4), samples=st.integers(1025, 3000))
@settings(max_examples=8, deadline=None)
def test_any_batch_and_length(log_mel: Implementation, batch: int, samples: int) -> None:
    waveforms = np.stack([tune(samples) for _ in range(batch)])
    for row, waveform in zip(log_mel(waveforms), waveforms, strict=True):
        assert_close(row, naive_log_mel(waveform))


@pytest.mark.parametrize("level_db", mostly_full(range(0, -121, -40), 0, -120))
def test_music_of_any_level(log_mel: Implementation, songs: np.ndarray, level_db: int) -> None:
    waveforms = songs * np.float32(10 ** (level_db / 20))
    for row, waveform in zip(log_mel(waveforms), waveforms, strict=True):
        assert_close(row, naive_log_mel(waveform))


def test_silence_is_the_floor(log_mel: Implementation) -> None:
    silence = np.zeros((2, 1500), dtype=np.float32)
    np.testing.assert_allclose(log_mel(silence), -100.0, atol=1e-4)


@pytest.mark.parametrize("frequency_hz", [100.3, 1234.5, 12_000])
def test_a_full_scale_square_wave(log_mel: Implementation, frequency_hz: float) -> None:
    time = np.arange(4800) / mel.SAMPLE_RATE_HZ
    waveform = np.sign(np.cos(2 * np.pi * frequency_hz * time)).astype(np.float32)
    assert_close(log_mel(waveform[None])[0], naive_log_mel(waveform))


def test_a_nan_spoils_its_own_frames_and_no_others(log_mel: Implementation) -> None:
    waveforms = np.stack([tune(3600), tune(3600)])
    expected = log_mel(waveforms)
    waveforms[1, 1900] = np.nan
    ours = log_mel(waveforms)
    spoilt = np.abs(np.arange(15) * 240 - 1900) < mel.PAD_SAMPLES
    assert np.isnan(ours[1][:, spoilt]).all()
    ours[1][:, spoilt] = expected[1][:, spoilt]
    np.testing.assert_array_equal(ours, expected)


def test_one_product_is_not_enough(songs: np.ndarray) -> None:
    with pytest.raises(AssertionError):
        assert_close(kernel_by(tf32x1, songs[:1])[0], naive_log_mel(songs[0]))
