"""Runs between buffers that stay: on the CPU, where they must give what plain runs give.

Whether CUDA records them needs a GPU; which runs it is asked to record is seen here.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from muqrt.errors import SessionError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.engines.cuda.memory import DeviceArray
from muqrt.runtime.engines.device_name import DeviceName
from muqrt.runtime.engines.onnxruntime import binding as onnx_binding
from muqrt.runtime.engines.onnxruntime import session as onnx_session
from muqrt.runtime.engines.onnxruntime.binding import BoundRuns
from muqrt.runtime.engines.onnxruntime.providers import providers_on
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

HOST = DeviceName("cpu", 0)
OUTPUTS = ["features", "embedding"]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(bundle.path(bundle.artefacts[0].file)), options)


class Recorder:
    """An engine, and the numbers of the recordings that were asked of it."""

    def __init__(self, engine: ort.InferenceSession) -> None:
        self._engine = engine
        self.graphs: list[int] = []
        self.io_binding = engine.io_binding

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        self.graphs.append(int(options.get_run_config_entry("gpu_graph_id")))
        self._engine.run_with_iobinding(binding, options)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def on_device(array: np.ndarray) -> DeviceArray:
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, array)


@pytest.mark.parametrize("most_shapes", [3, 16])
def test_whatever_comes_after_whatever_is_as_a_plain_run(
    engine: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch, most_shapes: int
) -> None:
    monkeypatch.setattr(onnx_binding, "_MOST_SHAPES", most_shapes)
    bound = BoundRuns(engine, HOST, cuda_graphs=True)
    there = {shape: np.empty(shape, np.float32) for shape in [(1, 1_025), (2, 3_001)]}
    answers = []
    every = itertools.product(there, (OUTPUTS, OUTPUTS[:1], OUTPUTS[::-1]), (False, True))
    # Each four times in a row, and all of that twice: what has gone comes back.
    for seed, (shape, outputs, is_there) in enumerate([each for each in every for _ in "1234"] * 2):
        waveform = noise(*shape, seed=seed)
        there[shape][...] = waveform  # at the same address
        array = on_device(there[shape]) if is_there else waveform
        answers.append((bound.run(outputs, {"waveform": array}), waveform, outputs))
    for found, waveform, outputs in answers:  # later runs change no earlier answer
        expected = engine.run(outputs, {"waveform": waveform})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_shape_is_recorded_from_its_third_run_on(
    engine: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_binding, "_MOST_SHAPES", 2)
    recorder = Recorder(engine)
    bound = BoundRuns(recorder, HOST, cuda_graphs=True)

    def run(samples: int, times: int) -> list[int]:
        recorder.graphs.clear()
        for seed in range(times):
            bound.run(OUTPUTS, {"waveform": noise(1, samples, seed=seed)})
        return list(recorder.graphs)

    assert run(1_100, 4) == [-1, -1, 1, 1]
    assert run(1_200, 3) == [-1, -1, 2]
    assert run(1_100, 1) == [1]
    # No more than two recordings: ONNX Runtime would keep every one.
    assert run(1_300, 4) == [-1] * 4
    assert run(1_100, 1) == [1]
    plain = BoundRuns(recorder, HOST, cuda_graphs=False)
    recorder.graphs.clear()
    for _ in range(4):
        plain.run(OUTPUTS, {"waveform": noise(1, 1_100)})
    assert recorder.graphs == [-1] * 4


class OnGpu:
    """Another library's array; what it says of its device is not so."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.dtype, self.ndim, self.shape = array.dtype, array.ndim, array.shape
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return self._array.__dlpack__()


def test_a_session_on_a_gpu_reads_arrays_where_they_are(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is the host's memory here."""
    with OnnxSession(bundle, bundle.artefacts[0], threads=1) as session:
        waveform = noise(2, 3_001)
        expected = session.run({"waveform": waveform})
    monkeypatch.setattr(onnx_session, "providers_on", lambda *_: providers_on("cpu", ""))
    monkeypatch.setattr(
        onnx_session, "BoundRuns", lambda engine, gpu, graphs: BoundRuns(engine, HOST, graphs)
    )
    there = OnGpu(waveform)
    with OnnxSession(bundle, bundle.artefacts[0], threads=1, device="cuda") as session:
        for given_array in (waveform, there, waveform.T.copy().T, there):
            found = session.run({"waveform": given_array})
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)
        assert there.streams == [1, 1]
        with pytest.raises(SessionError, match="at least"):
            session.run({"waveform": OnGpu(noise(1, 1_000))})
        assert session.parts is not None
        frames = session.parts.front_end.run({"waveform": waveform})
        features = session.parts.encoder.run(frames, ["features"])["features"]
        np.testing.assert_allclose(features, expected["features"], atol=1e-4)
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": waveform})
