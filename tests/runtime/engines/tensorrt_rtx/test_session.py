"""TensorRT for RTX as far as a machine without a GPU goes: the real library says what it says here,
and a fake one with its names takes the place of engines and contexts."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from muqrt.common.files import sha256
from muqrt.errors import BundleError, MissingDependencyError, SessionError, UsageError
from muqrt.export.engines.tensorrt.build import engine_from_onnx
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile, RtxOptions
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tensorrt_plan import RtxPlan
from muqrt.runtime.engines.cuda import device as cuda_device
from muqrt.runtime.engines.cuda.device import CudaDevice
from muqrt.runtime.engines.open_session import open_session
from muqrt.runtime.engines.tensorrt.library import library_version, message_log, tensorrt_rtx
from muqrt.runtime.engines.tensorrt_rtx.cache import RuntimeCacheFile
from muqrt.runtime.engines.tensorrt_rtx.engine import require_valid, runtime_config
from muqrt.runtime.engines.tensorrt_rtx.session import RtxSession

from ....fake_cuda import Error, FakeCuda
from ....fake_tensorrt import WIDTH, FakeTensorRT, computed
from ....fake_tensorrt_rtx import FakeTensorRtForRtx, RtxEngine, RuntimeCache, RuntimeConfig
from ....framing import muq_framing, one_artefact

PROFILE = Profile(window_seconds=(0.05, 0.5, 2.0), batch=(1, 1, 3))


@pytest.fixture(scope="module")
def real() -> Any:
    """The real library."""
    try:
        return tensorrt_rtx()
    except MissingDependencyError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda((8, 9))
    monkeypatch.setattr(cuda_device, "cuda_runtime", lambda: fake)
    return fake


@pytest.fixture
def trt(
    cuda: FakeCuda, real: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> FakeTensorRtForRtx:
    fake = FakeTensorRtForRtx(cuda, real)
    monkeypatch.setattr("muqrt.runtime.engines.tensorrt_rtx.session.tensorrt_rtx", lambda: fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


def rtx_bundle(folder: Path, content: bytes, **changes: Any) -> Bundle:
    """A bundle with an engine; ``changes`` are of its plan."""
    file = folder / "muq-tensorrt-rtx-fp16.engine"
    file.write_bytes(content)
    facts = {
        "tensorrt_rtx": "1.7.1.116",
        "options": RtxOptions(targets=("sm86", "sm89"), profiles=(PROFILE,)),
        "source": "onnx-fp16",
        "source_sha256": "0" * 64,
    }
    return one_artefact(
        folder,
        muq_framing(24_000),
        name="tensorrt-rtx-fp16",
        engine="tensorrt-rtx",
        precision="fp16",
        target="any",
        file=file.name,
        files={file.name: sha256(file)},
        inputs=[TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])],
        outputs=[
            TensorSpec(name="features", dtype="float32", shape=["batch", "steps", WIDTH]),
            TensorSpec(name="embedding", dtype="float32", shape=["batch", WIDTH]),
        ],
        plan=RtxPlan(**{**facts, **changes}),
    )


@pytest.fixture
def built(cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the fake library makes of a graph."""
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(cuda))
    (tmp_path / "muq.onnx").touch()
    options = EngineOptions(profiles=(PROFILE,), fused_kernels=False)
    return engine_from_onnx(tmp_path / "muq.onnx", options)


Opened = Callable[..., RtxSession]


@pytest.fixture
def opened(trt: FakeTensorRtForRtx, built: bytes, tmp_path: Path) -> Opened:
    def open_it(**options: Any) -> RtxSession:
        bundle = rtx_bundle(tmp_path, built)
        return RtxSession(bundle, bundle.artefacts[0], **options)

    return open_it


@pytest.mark.parametrize(
    ("changes", "gpu", "why"),
    [
        (
            {"tensorrt_rtx": "1.6.0.9"},
            (8, 9),
            r"for TensorRT for RTX 1\.6\.0\.9 and here is .* pip install "
            r"tensorrt-rtx-cu13-bindings==1\.6\.0\.9",
        ),
        ({}, (12, 0), r"for sm86, sm89 and Fake GPU is sm120\. .* --targets sm120"),
        ({}, (9, 0), r"is sm90\. TensorRT for RTX has no such target: use --engine tensorrt"),
    ],
)
def test_what_an_engine_is_not_for(
    trt: FakeTensorRtForRtx,
    cuda: FakeCuda,
    built: bytes,
    tmp_path: Path,
    changes: dict[str, Any],
    gpu: tuple[int, int],
    why: str,
) -> None:
    cuda.major, cuda.minor = gpu
    bundle = rtx_bundle(tmp_path, built, **changes)
    with pytest.raises(SessionError, match=why) as refused:
        open_session(bundle, bundle.artefacts[0])
    assert refused.value.exit_code == 3 and not trt.engines


def test_a_truncated_file_is_found_before_the_gpu_is(real: Any, tmp_path: Path) -> None:
    bundle = rtx_bundle(tmp_path, b"0123456789", tensorrt_rtx=library_version(real))
    (tmp_path / bundle.artefacts[0].file).write_bytes(b"01234")
    with pytest.raises(BundleError, match="has changed since it was exported"):
        open_session(bundle, bundle.artefacts[0])


def test_without_a_driver_it_is_said(
    trt: FakeTensorRtForRtx, cuda: FakeCuda, built: bytes, tmp_path: Path
) -> None:
    cuda.gpus = Error.cudaErrorInsufficientDriver
    bundle = rtx_bundle(tmp_path, built)
    with pytest.raises(SessionError, match="no GPU that works, or an old driver"):
        open_session(bundle, bundle.artefacts[0])
    assert not trt.engines


def test_the_real_library_says_that_noise_is_no_engine(real: Any, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(1000))
    with pytest.raises(SessionError, match=r"noise: TensorRT for RTX 1\..*it is damaged"):
        require_valid(real, tmp_path / "noise")


@pytest.mark.parametrize(
    ("name", "why"),
    [("VERSION_MISMATCH", "another version"), ("UNSUPPORTED_CC", "--targets")],
)
def test_what_the_library_finds_wrong_is_said(
    trt: FakeTensorRtForRtx, opened: Opened, real: Any, name: str, why: str
) -> None:
    trt.diagnostics = int(real.EngineInvalidityDiagnostics.__members__[name])
    with pytest.raises(SessionError, match=why):
        opened()
    assert not trt.engines


def test_a_reason_that_is_new_is_said_by_its_name(trt: FakeTensorRtForRtx, opened: Opened) -> None:
    trt.EngineInvalidityDiagnostics = SimpleNamespace(__members__={"NO_MORE_ROOM": 128})
    trt.diagnostics = 128
    with pytest.raises(SessionError, match=r"cannot run it: NO_MORE_ROOM\.$"):
        opened()


def test_another_engines_error_is_not_said_of_this_one(
    trt: FakeTensorRtForRtx, opened: Opened
) -> None:
    message_log(trt).log(trt.ILogger.Severity.ERROR, "of another engine")
    trt.EngineInvalidityDiagnostics = SimpleNamespace(__members__={})
    trt.diagnostics = 128
    with pytest.raises(SessionError, match=r"cannot run it: it gave no reason\.$"):
        opened()


def test_it_runs_and_keeps_what_was_compiled(trt: FakeTensorRtForRtx, opened: Opened) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, (2, 9_600)).astype(np.float32)
    for _ in range(2):
        with opened() as session:
            assert session.artefact_sha256
            for name, expected in computed(waveform).items():
                np.testing.assert_array_equal(session.run({"waveform": waveform})[name], expected)
            with pytest.raises(SessionError, match="this engine was built for"):
                session.run({"waveform": np.zeros((9, 9_600), np.float32)})
        with pytest.raises(SessionError, match="closed"):
            session.run({"waveform": waveform})
    first, second = (engine.config for engine in trt.engines)
    assert first.cache is not None and second.cache is not None
    # The second has what the first compiled.
    assert first.cache.content == second.cache.content == b"kernels"
    assert first.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kinds = trt.DynamicShapesKernelSpecializationStrategy
    assert first.dynamic_shapes_kernel_specialization_strategy == kinds.LAZY
    assert trt.cuda.count("cudaGraphLaunch") == 0  # the library records runs itself


def test_options_reach_the_library(trt: FakeTensorRtForRtx, opened: Opened) -> None:
    with opened(cuda_graphs=False, specialization="eager") as session:
        session.run({"waveform": np.zeros((1, 9_600), np.float32)})
    (engine,) = trt.engines
    assert engine.config.cuda_graph_strategy == trt.CudaGraphStrategy.DISABLED
    kinds = trt.DynamicShapesKernelSpecializationStrategy
    assert engine.config.dynamic_shapes_kernel_specialization_strategy == kinds.EAGER
    with pytest.raises(UsageError, match="choose among lazy, eager, none"):
        opened(specialization="sometimes")


def test_a_cache_of_another_machine_is_compiled_again(
    trt: FakeTensorRtForRtx, opened: Opened, built: bytes, tmp_path: Path
) -> None:
    bundle = rtx_bundle(tmp_path, built)
    digest = bundle.artefacts[0].files[bundle.artefacts[0].file]
    file = RuntimeCacheFile(digest, "1.7.1.116", CudaDevice())
    file.write(b"another machine's kernels")
    with opened() as session:
        session.run({"waveform": np.zeros((1, 9_600), np.float32)})
    assert file.path.read_bytes() == b"kernels"


def test_a_cache_is_for_one_engine_library_driver_and_gpu(cuda: FakeCuda, tmp_path: Path) -> None:
    gpu = CudaDevice()

    def path(engine: str = "a" * 64, version: str = "1.7.1.116", **changes: str) -> Path:
        other = CudaDevice()
        for name, value in changes.items():
            setattr(other, name, value)
        return RuntimeCacheFile(engine, version, other if changes else gpu, tmp_path).path

    different = {
        path(),
        path("b" * 64),
        path(version="1.8.0.0"),
        path(cuda="13.9"),
        path(name="Another GPU"),
        path(compute_capability="12.0"),
    }
    assert len(different) == 6 and path() in different
    assert all(each.parent == tmp_path / "tensorrt-rtx" for each in different)


def test_a_cache_that_cannot_be_written_or_is_too_large_is_none(
    cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    file = RuntimeCacheFile("a" * 64, "1", CudaDevice(), tmp_path / "file")
    file.write(b"kernels")
    assert file.read() == b""
    monkeypatch.setattr("muqrt.runtime.engines.tensorrt_rtx.cache._LIMIT_BYTES", 3)
    file = RuntimeCacheFile("a" * 64, "1", CudaDevice(), tmp_path)
    file.write(b"kernels")
    assert file.read() == b"" and RuntimeCacheFile("b", "1", CudaDevice(), tmp_path).read() == b""


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_names_are_the_real_librarys(real: Any) -> None:
    for fake, theirs, own in (
        (RuntimeConfig, real.IRuntimeConfig, set()),
        (RuntimeCache, real.IRuntimeCache, set()),
        (RtxEngine, real.ICudaEngine, set()),
        (FakeTensorRtForRtx.CudaGraphStrategy, real.CudaGraphStrategy, {"name", "value"}),
    ):
        assert public(fake) - own <= public(theirs), fake
    kinds = FakeTensorRtForRtx.DynamicShapesKernelSpecializationStrategy.__members__
    assert set(kinds) == set(real.DynamicShapesKernelSpecializationStrategy.__members__)
    assert {"get_engine_validity", "deserialize_cuda_engine"} <= public(real.Runtime)
    assert set(FakeTensorRtForRtx.EngineValidity.__members__) == set(
        real.EngineValidity.__members__
    )


def test_a_real_configuration_takes_the_options(real: Any) -> None:
    """The library's own enumerations, set on what has no other names than the library's."""

    class Strict:
        __slots__ = tuple(public(real.IRuntimeConfig))

    class Engine:
        def create_runtime_config(self) -> Strict:
            return Strict()

    config = runtime_config(real, Engine(), "none", cuda_graphs=True)
    assert config.cuda_graph_strategy == real.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    kinds = real.DynamicShapesKernelSpecializationStrategy
    assert config.dynamic_shapes_kernel_specialization_strategy == kinds.NONE
