"""A plan on a GPU: here the host's memory and an engine that computes means, all else is real."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muqrt.errors import BundleError, MissingDependencyError, SessionError
from muqrt.export.engines.tensorrt.build import engine_from_onnx
from muqrt.runtime.bundle.engine_options import EngineOptions
from muqrt.runtime.engines.cuda import device as cuda_device
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.engines.tensorrt.session import TensorRtSession

from ....fake_cuda import Error, FakeCuda
from ....fake_tensorrt import FakeTensorRT, computed
from .plans import OPTIONS, built_plan, plan_bundle

Opened = Callable[..., TensorRtSession]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(cuda_device, "cuda_runtime", lambda: fake)
    return fake


@pytest.fixture
def trt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    fake = FakeTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def opened(trt: FakeTensorRT, tmp_path: Path) -> Opened:
    """A session; ``changes`` are of the facts of its plan, ``spoilt`` changes its bytes."""

    def open_it(
        spoilt: Callable[[bytes], bytes] = bytes, device: str | None = None, **changes: Any
    ) -> TensorRtSession:
        plan = built_plan(tmp_path)
        plan.write_bytes(spoilt(plan.read_bytes()))
        bundle = plan_bundle(plan, **changes)
        session = open_session(bundle, bundle.artefacts[0], device=device)
        assert isinstance(session, TensorRtSession)
        return session

    return open_it


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def assert_right(found: dict[str, np.ndarray], waveform: np.ndarray) -> None:
    for name, expected in computed(waveform).items():
        np.testing.assert_array_equal(found[name], expected)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shapes=st.lists(
        st.sampled_from([(1, 24_000), (2, 24_000), (1, 1_200), (3, 47_999), (2, 9_999)]),
        min_size=1,
        max_size=12,
    ),
    cuda_graphs=st.booleans(),
)
def test_whatever_comes_after_whatever_is_right(
    opened: Opened, shapes: list[tuple[int, int]], cuda_graphs: bool
) -> None:
    with opened() as session:
        session._slot._cuda_graphs = cuda_graphs
        kept = []
        for seed, shape in enumerate(shapes):
            waveform = noise(*shape, seed=seed)
            kept.append((session.run({"waveform": waveform}), waveform))
        for found, waveform in kept:  # later runs change no earlier answer
            assert list(found) == ["features", "embedding"]
            assert_right(found, waveform)


def test_a_shape_is_run_twice_and_then_only_launched(opened: Opened, cuda: FakeCuda) -> None:
    with opened() as session:
        for seed in range(5):
            waveform = noise(2, 24_000, seed=seed)
            assert_right(session.run({"waveform": waveform}), waveform)
        assert cuda.count("execute_async_v3") == 2
        assert cuda.count("cudaStreamBeginCapture") == 1
        assert cuda.count("cudaGraphLaunch") == 4
        session.run({"waveform": noise(1, 24_000)})  # another shape
        assert cuda.count("execute_async_v3") == 3


def test_larger_memory_makes_recordings_void(opened: Opened, cuda: FakeCuda) -> None:
    with opened() as session:
        for _ in range(3):
            session.run({"waveform": noise(1, 1_200)})
        assert len(cuda.recordings) == 1
        session.run({"waveform": noise(1, 24_000)})
        assert not cuda.recordings
        waveform = noise(1, 1_200, seed=1)
        assert_right(session.run({"waveform": waveform}), waveform)


def test_everything_is_freed(opened: Opened, cuda: FakeCuda) -> None:
    session = opened()
    for _ in range(3):
        session.run({"waveform": noise(1, 24_000)})
    assert cuda.allocated_bytes and cuda.recordings
    session.close()
    session.close()
    assert not cuda.allocated_bytes and not cuda.recordings and not cuda.streams
    with pytest.raises(SessionError, match="closed"):
        session.run({"waveform": noise(1, 24_000)})


def test_only_what_is_asked_for_is_copied_back(opened: Opened, cuda: FakeCuda) -> None:
    with opened() as session:
        waveform = noise(2, 9_999).T.copy().T  # not contiguous
        found = session.run({"waveform": waveform}, ["embedding"])
    assert list(found) == ["embedding"]
    np.testing.assert_array_equal(found["embedding"], computed(waveform)["embedding"])
    assert cuda.count("cudaMemcpyAsync") == 2


class OnGpu:
    """An array of another library in the fake GPU's memory."""

    def __init__(self, cuda: FakeCuda, values: np.ndarray, offset: int = 0) -> None:
        _, address = cuda.cudaMalloc(values.nbytes + offset)
        raw = cuda.bytes_at(address + offset, values.nbytes)
        self.array = np.frombuffer(raw, np.float32).reshape(values.shape)
        self.array[...] = values
        self.device = (2, 0)
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


def test_an_array_on_the_gpu_is_read_where_it_lies(opened: Opened, cuda: FakeCuda) -> None:
    with opened() as session:
        waveform = noise(2, 24_000)
        tensor = OnGpu(cuda, waveform)
        for _ in range(4):
            copies = cuda.count("cudaMemcpyAsync")
            assert_right(session.run({"waveform": tensor}), waveform)
            assert cuda.count("cudaMemcpyAsync") == copies + 2  # the outputs
        assert cuda.count("execute_async_v3") == 2
        assert set(tensor.streams) == set(cuda.streams)  # its owner is told who reads it
        other = noise(2, 24_000, seed=1)
        assert_right(session.run({"waveform": OnGpu(cuda, other)}), other)
        assert_right(session.run({"waveform": other}), other)
        shifted = OnGpu(cuda, waveform, offset=4)  # TensorRT wants 256 bytes
        assert_right(session.run({"waveform": shifted}), waveform)


def test_arrays_elsewhere(opened: Opened, cuda: FakeCuda) -> None:
    torch = pytest.importorskip("torch")
    waveform = noise(2, 24_000)
    with opened() as session:
        assert_right(session.run({"waveform": torch.from_numpy(waveform)}), waveform)
        tensor = OnGpu(cuda, waveform)
        tensor.device = (2, 1)
        with pytest.raises(SessionError, match=r"device 1 of DLPack's kind 2.*on GPU 0"):
            session.run({"waveform": tensor})
        tensor.device, tensor.array = (2, 0), tensor.array[:, ::2]
        with pytest.raises(SessionError, match="not contiguous"):
            session.run({"waveform": tensor})
        tensor.array = np.zeros((2, 24_000))
        with pytest.raises(SessionError, match="float64"):
            session.run({"waveform": tensor})


@pytest.mark.parametrize(
    ("shape", "name"), [((1, 1_100), "0.05 to 2 s"), ((4, 24_000), "1 to 3"), ((1, 48_001), "2 s")]
)
def test_a_shape_that_no_profile_covers(opened: Opened, shape: tuple[int, int], name: str) -> None:
    with opened() as session:
        with pytest.raises(SessionError, match=f"built for .*{name}"):
            session.run({"waveform": noise(*shape)})
        assert_right(session.run({"waveform": noise(1, 1_200)}), noise(1, 1_200))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensorrt": "10.16.0.71"}, r"for TensorRT 10\.16\.0\.71 and here is 10\.16\.0\.72"),
        ({"compute_capability": "8.9"}, r"compute capability 8\.9.*this GPU has 9\.0"),
        ({"options": None}, "does not say for which shapes"),
        ({"options": EngineOptions()}, "other shapes than the manifest says"),
    ],
)
def test_a_plan_for_something_else(opened: Opened, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SessionError, match=message):
        opened(**changes)


def test_a_truncated_plan_is_never_loaded(
    opened: Opened, trt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "Runtime", None)
    with pytest.raises(BundleError, match=r"muq\.plan has changed"):
        opened(sha256="0" * 64)


def test_what_tensorrt_says_of_a_plan_is_told(opened: Opened) -> None:
    with pytest.raises(SessionError, match="cannot load it: magic tag does not match"):
        opened(lambda plan: plan[:-1])
    with pytest.raises(SessionError, match=r"tensors are wave, features.*Build it again"):
        opened(lambda plan: plan.replace(b'"waveform"', b'"wave"'))


def test_a_failing_engine_says_why(opened: Opened) -> None:
    for fault, message in (("failing", "the kernel fell over"), ("no memory", "requested 1 TB")):
        flag = f'{{"{fault}": true, '.encode()
        with (
            opened(lambda plan, flag=flag: flag + plan[1:]) as session,
            pytest.raises(SessionError, match=message),
        ):
            session.run({"waveform": noise(1, 24_000)})


def test_too_little_memory(opened: Opened, cuda: FakeCuda) -> None:
    with opened() as session:
        waveform = noise(1, 24_000)
        for _ in range(3):
            session.run({"waveform": waveform})
        cuda.memory_bytes = cuda.allocated_bytes
        with pytest.raises(SessionError, match=r"MB were asked for\. Run smaller batches"):
            session.run({"waveform": noise(3, 47_999)})
        cuda.memory_bytes *= 2
        assert_right(session.run({"waveform": waveform}), waveform)


@pytest.mark.parametrize("gpus", [Error.cudaErrorNoDevice, Error.cudaErrorInsufficientDriver])
def test_no_gpu(opened: Opened, cuda: FakeCuda, gpus: Error) -> None:
    cuda.gpus = gpus
    with pytest.raises(SessionError, match=f"{gpus.name}.*no GPU that works.*another artefact"):
        opened()


def test_the_device_is_chosen(opened: Opened) -> None:
    opened(device="cuda:0").close()
    with pytest.raises(SessionError, match="no GPU 1: the driver finds 1"):
        opened(device="cuda:1")
    with pytest.raises(SessionError, match="device 'cpu': choose cuda"):
        opened(device="cpu")


@pytest.mark.parametrize("module", ["tensorrt", "cuda.bindings"])
def test_what_is_not_installed(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    opened().close()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, module, None)
    if module != "tensorrt":
        with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[gpu\]'"):
            cuda_device.cuda_runtime()
        return
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[gpu\]'"):
        opened()


def test_an_old_tensorrt(opened: Opened, trt: FakeTensorRT) -> None:
    trt.__version__ = "10.12.0.36"
    with pytest.raises(SessionError, match=r"too old: install 10\.13 or newer"):
        opened()


def test_a_packages_suffix_is_no_other_tensorrt(opened: Opened, trt: FakeTensorRT) -> None:
    trt.__version__ = "10.16.0.72.post1"
    opened().close()


def variant(**options: bool) -> EngineOptions:
    return OPTIONS.model_copy(update=options)


@pytest.fixture
def varied(trt: FakeTensorRT, tmp_path: Path) -> Callable[..., TensorRtSession]:
    """A session of an engine built with ``options``; ``changes`` are of its plan's content."""

    def open_it(
        options: EngineOptions, budget: int | None = None, **changes: object
    ) -> TensorRtSession:
        graph, path = tmp_path / "muq.onnx", tmp_path / "muq.plan"
        graph.touch()
        path.write_text(json.dumps(json.loads(engine_from_onnx(graph, options)) | changes))
        weights = graph.name if options.stripped else None
        bundle = plan_bundle(path, options=options, weights=weights)
        return TensorRtSession(bundle, bundle.artefacts[0], weight_budget_bytes=budget)

    return open_it


def test_a_stripped_plan_gets_its_weights_back(varied: Opened, trt: FakeTensorRT) -> None:
    waveform, stripped = noise(1, 24_000), variant(stripped=True)
    with varied(stripped) as session:
        assert_right(session.run({"waveform": waveform}), waveform)
    cure = "Build the plan again, without --strip"
    trt.missing = ["a", "b", "c", "d"]
    with pytest.raises(SessionError, match=rf"muq\.onnx.*4 are missing, such as a, b, c\. {cure}"):
        varied(stripped)
    trt.missing, trt.no_refit = [], True
    with pytest.raises(SessionError, match=f"refitting failed {cure}"):
        varied(stripped)


@pytest.mark.parametrize(
    ("budget", "kept"), [(None, 700), (0, 0), (300, 300), (1_000, 1_000), (9_999, 1_000)]
)
def test_so_much_of_the_weights_stays_on_the_gpu(
    varied: Opened, budget: int | None, kept: int
) -> None:
    waveform = noise(1, 24_000)
    with varied(variant(weight_streaming=True), budget) as session:
        assert session._slot is not None
        assert session._slot._engine._engine.weight_streaming_budget_v2 == kept
        assert_right(session.run({"waveform": waveform}), waveform)


def test_budgets_that_are_none(varied: Opened) -> None:
    streaming = variant(weight_streaming=True)
    with pytest.raises(SessionError, match="budget of -1 bytes: 0 is the least"):
        varied(streaming, -1)
    with pytest.raises(SessionError, match=r"all on the GPU.*--weight-streaming"):
        varied(OPTIONS, 0)
    with pytest.raises(SessionError, match=r"refuses to keep 0 MB.*nvidia-smi"):
        varied(streaming, 10, **{"least budget": 20})
