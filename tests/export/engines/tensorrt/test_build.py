"""ONNX to a plan: what TensorRT is told, what its failures become, and what a bundle gets of it.

The builder is a fake one; ``test_tensorrt_api.py`` says how far it is like the real one.
"""

import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.errors import BuildError, BundleError, ParityError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.engines.tensorrt import build as module
from muqrt.export.engines.tensorrt.artefact import TensorRTRecipe, tensorrt_source
from muqrt.export.engines.tensorrt.build import engine_from_onnx
from muqrt.export.parity.engine_shapes import in_engines_shapes, takes
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.reference.checkpoint import Checkpoint
from muqrt.runtime.bundle.engine_options import EngineOptions, Profile, engine_options
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.runtime.bundle.tensorrt_plan import TensorRTPlan
from muqrt.runtime.engines.cuda import device as cuda_device
from muqrt.runtime.engines.onnxruntime.session import OnnxSession
from muqrt.runtime.engines.open_session import open_session

from ....fake_cuda import FakeCuda
from ....fake_tensorrt import FakeTensorRT

PLAIN = EngineOptions(fused_kernels=False)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    cuda = FakeCuda()
    fake = FakeTensorRT(cuda)
    monkeypatch.setattr(cuda_device, "cuda_runtime", lambda: cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "muq.onnx"
    path.touch()
    return path


def test_what_the_builder_is_told(trt: FakeTensorRT, graph: Path) -> None:
    engine_from_onnx(graph, PLAIN)
    (config,) = trt.builds
    assert config.flags == set()  # no TF32
    assert config.limits == {"workspace": 4 << 30}
    assert config.profiles == [[(1, 1_025), (8, 240_000), (32, 720_000)]]
    assert config.builder_optimization_level == 3
    assert config.hardware_compatibility_level.name == "NONE"
    assert not hasattr(config, "profiling_verbosity")
    narrow = Profile(window_seconds=(10, 10, 10), batch=(4, 4, 4))
    changed = PLAIN.model_copy(
        update={
            "profiles": (narrow, Profile()),
            "optimization_level": 5,
            "hardware_compatibility": "ampere_plus",
            "version_compatible": True,
            "refit": True,
            "weight_streaming": True,
            "inspect": True,
        }
    )
    engine_from_onnx(graph, changed)
    config = trt.builds[-1]
    assert config.flags == {"version", "refit", "stream"}
    assert config.profiles[0] == [(4, 240_000)] * 3 and len(config.profiles) == 2
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert config.profiling_verbosity == "detailed"
    engine_from_onnx(graph, PLAIN.model_copy(update={"stripped": True}))
    assert trt.builds[-1].flags == {"strip", "identical"}


def test_fused_kernels_are_registered_only_when_wanted(
    trt: FakeTensorRT, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[str] = []
    monkeypatch.setattr(module, "register_plugins", cache(lambda: registered.append("all")))
    engine_from_onnx(graph, PLAIN)
    assert not registered
    engine_from_onnx(graph, EngineOptions())
    assert registered
    # TensorRT's registry is the process's.
    with pytest.raises(BuildError, match="without them in a new process"):
        engine_from_onnx(graph, PLAIN)


def test_every_step_is_told(trt: FakeTensorRT, graph: Path) -> None:
    steps: list[str] = []
    engine_from_onnx(graph, PLAIN, steps.append)
    assert steps == trt.phases


def test_what_the_parser_does_not_take_is_told_with_a_cure(trt: FakeTensorRT, graph: Path) -> None:
    trt.problems = [
        ("mel", "LogMel", "no plugin creator."),
        ("q", "MatMulNBits", "unknown."),
        *[("x", "", "more.")] * 3,
    ]
    with pytest.raises(BuildError) as refused:
        engine_from_onnx(graph, PLAIN)
    message = str(refused.value)
    assert "muq.onnx: TensorRT 10.16.0.72 does not take node 'mel' (LogMel): no plugin" in message
    assert "--no-plugins" in message
    assert "node 'q' (MatMulNBits): unknown. Build from an fp32, fp16 or bf16 artefact" in message
    assert "and 2 more" in message
    assert not trt.builds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_gpu": True}, "cannot use this GPU: CUDA initialization failure with error: 35"),
        ({"no_engine": True}, "built no engine: could not find any implementation If it is memory"),
        ({"inputs": [("frames", (-1, -1, 32))]}, "its inputs are frames"),
    ],
)
def test_a_failed_build_says_why(
    trt: FakeTensorRT, graph: Path, changes: dict[str, Any], message: str
) -> None:
    for name, value in changes.items():
        setattr(trt, name, value)
    with pytest.raises(BuildError, match=message):
        engine_from_onnx(graph, PLAIN)


def test_a_level_that_this_tensorrt_does_not_have(
    trt: FakeTensorRT, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = type("Levels", (), {"__members__": {"NONE": 0}})
    monkeypatch.setattr(trt, "HardwareCompatibilityLevel", levels, raising=False)
    wanted = engine_options(hardware_compatibility="same_compute_capability", fused_kernels=False)
    with pytest.raises(BuildError, match="no hardware compatibility SAME_COMPUTE_CAPABILITY"):
        engine_from_onnx(graph, wanted)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, b"+"), (b"old", b"old+"), (b"?", b"+"), (b"another GPU", b"+")],
)
def test_the_timing_cache_is_used_and_written(
    trt: FakeTensorRT, graph: Path, tmp_path: Path, before: bytes | None, after: bytes
) -> None:
    cache = tmp_path / "caches" / "timing"
    if before is not None:
        cache.parent.mkdir()
        cache.write_bytes(before)
    engine_from_onnx(graph, PLAIN.model_copy(update={"timing_cache": cache}))
    assert cache.read_bytes() == after
    assert list(cache.parent.iterdir()) == [cache]


def test_a_folder_is_no_timing_cache(trt: FakeTensorRT, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a timing cache"):
        engine_from_onnx(graph, PLAIN.model_copy(update={"timing_cache": tmp_path}))


@pytest.fixture(scope="module")
def portable(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny bundle for any target, uncertified."""
    folder = tmp_path_factory.mktemp("portable") / "bundle"
    bundle_from_checkpoint(Proof(checkpoint), folder, target="any")
    return folder


@pytest.fixture
def bundle(portable: Path, tmp_path: Path) -> Bundle:
    return load_bundle(shutil.copytree(portable, tmp_path / "bundle"))


@pytest.fixture
def faithful(trt: FakeTensorRT, bundle: Bundle) -> FakeTensorRT:
    """Its engines compute what the bundle's graph does."""
    session = OnnxSession(bundle, bundle.artefacts[0], threads=1)
    trt.compute = lambda waveform: session.run({"waveform": waveform})
    return trt


SHORT = EngineOptions(
    profiles=(Profile(window_seconds=(0.05, 1.0, 2.0), batch=(1, 2, 4)),), fused_kernels=False
)


def test_an_engine_is_certified_and_runs(
    faithful: FakeTensorRT,
    bundle: Bundle,
    checkpoint: Checkpoint,
    very_short_music: list[Excerpt],
    tmp_path: Path,
) -> None:
    options = SHORT.model_copy(update={"timing_cache": tmp_path / "timing", "inspect": True})
    source, steps = tensorrt_source(bundle, "fp32"), []
    proof = Proof(checkpoint, music=very_short_music, on_step=steps.append)
    add(bundle, TensorRTRecipe(source, options), proof)
    assert steps[: len(faithful.phases)] == faithful.phases
    assert "parity: all, in an engine's shape" in steps
    found = load_bundle(bundle.folder)
    assert [each.name for each in found.artefacts] == ["onnx-fp32", "tensorrt-fp32-9.0"]
    _, added = found.artefacts
    assert added.certified and added.plan is not None
    assert (added.plan.tensorrt, added.plan.gpu, added.plan.cuda) == (
        "10.16.0.72",
        "Fake GPU",
        "13.2",
    )
    assert added.plan.source_sha256 == source.digest
    assert added.plan.options is not None and added.plan.options.profiles == SHORT.profiles
    assert set(added.files) == {"muq-fp32-9.0.plan", "muq-fp32-9.0-layers.json"}
    assert b"conv" in (found.folder / "muq-fp32-9.0-layers.json").read_bytes()
    assert not [path.name for path in found.folder.iterdir() if path.name.startswith(".")]
    waveform = very_short_music[0].waveform
    with open_session(found, added) as session:
        answer = session.run({"waveform": waveform})
    np.testing.assert_array_equal(answer["features"], faithful.compute(waveform)["features"])
    # Again replaces it.
    add(found, TensorRTRecipe(tensorrt_source(found, "fp32"), SHORT), Proof(checkpoint))
    again = load_bundle(bundle.folder)
    assert [each.certified for each in again.artefacts] == [False, False]
    assert set(again.artefacts[1].files) == {"muq-fp32-9.0.plan"}


def test_a_stripped_engine_has_its_weights_beside_it(
    faithful: FakeTensorRT,
    bundle: Bundle,
    checkpoint: Checkpoint,
    very_short_music: list[Excerpt],
) -> None:
    source = tensorrt_source(bundle, "fp32")
    weights = {name: source.files[name] for name in source.files if name == source.file}
    stripped = SHORT.model_copy(update={"stripped": True})
    proof = Proof(checkpoint, music=very_short_music)
    added = add(bundle, TensorRTRecipe(source, stripped), proof)
    assert added.certified  # without its weights it computes NaNs
    assert added.plan is not None and added.plan.weights == source.file
    assert added.files == weights | {"muq-fp32-9.0.plan": added.files["muq-fp32-9.0.plan"]}
    bundle.verify(source)
    (bundle.folder / source.file).write_bytes(b"trained again")
    with pytest.raises(BundleError, match=rf"{source.file} has changed"):
        open_session(bundle, added)


def spoilt(value: float) -> Any:
    def compute(waveform: np.ndarray) -> dict[str, np.ndarray]:
        steps = -(-(waveform.shape[1] // 240) // 4)
        features = np.full((len(waveform), steps, 32), value, np.float32)
        return {"features": features, "embedding": features.mean(1)}

    return compute


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_an_engine_that_computes_something_else_is_not_added(
    trt: FakeTensorRT,
    bundle: Bundle,
    checkpoint: Checkpoint,
    very_short_music: list[Excerpt],
    tmp_path: Path,
    value: float,
) -> None:
    trt.compute = spoilt(value)
    before = {path: path.read_bytes() for path in bundle.folder.iterdir()}
    options = SHORT.model_copy(update={"timing_cache": tmp_path / "timing"})
    recipe = TensorRTRecipe(bundle.artefacts[0], options)
    with pytest.raises(ParityError, match=r"tensorrt-fp32-9\.0"):
        add(bundle, recipe, Proof(checkpoint, music=very_short_music))
    assert {path: path.read_bytes() for path in bundle.folder.iterdir()} == before
    assert [each.name for each in bundle.artefacts] == ["onnx-fp32"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_leaves_only_the_timing_cache(
    faithful: FakeTensorRT,
    bundle: Bundle,
    checkpoint: Checkpoint,
    tmp_path: Path,
    stop: type[BaseException],
) -> None:
    before = {path: path.read_bytes() for path in bundle.folder.iterdir()}
    cache = tmp_path / "timing"

    def interrupted(phase: str) -> None:
        raise stop

    options = SHORT.model_copy(update={"timing_cache": cache})
    proof = Proof(checkpoint, on_step=interrupted)
    with pytest.raises(stop):
        add(bundle, TensorRTRecipe(bundle.artefacts[0], options), proof)
    assert cache.is_file()
    assert {path: path.read_bytes() for path in bundle.folder.iterdir()} == before


def test_what_is_no_source_is_refused(
    trt: FakeTensorRT, bundle: Bundle, checkpoint: Checkpoint
) -> None:
    (source,) = bundle.artefacts
    for changes, message in (
        ({"target": "cpu"}, "only good on CPUs.*--target any"),
        ({"precision": "int8-weights"}, "not what TensorRT builds from"),
        ({"engine": "openvino"}, "not what TensorRT builds from"),
    ):
        with pytest.raises(BundleError, match=message):
            changed = source.model_copy(update=changes)
            add(bundle, TensorRTRecipe(changed, SHORT), Proof(checkpoint))
    assert tensorrt_source(bundle, "fp32") is source
    with pytest.raises(BundleError, match=r"no fp16 artefact.*--precision fp16"):
        tensorrt_source(bundle, "fp16")


def test_parity_is_measured_in_the_engines_own_shapes(
    bundle: Bundle, all_excerpts: list[Excerpt]
) -> None:
    def shapes(**options: object) -> list[tuple[int, ...]]:
        plan = TensorRTPlan(
            tensorrt="10.13.3.9",
            compute_capability="9.0",
            gpu="tests",
            options=EngineOptions(**options),  # type: ignore[arg-type]
        )
        engine = bundle.artefacts[0].model_copy(update={"engine": "tensorrt", "plan": plan})
        found = list(
            in_engines_shapes(bundle.model_copy(update={"artefacts": [engine]}), all_excerpts)
        )
        assert all(takes(engine, each) for each in found)
        assert not np.array_equal(found[0].waveform[0], found[0].waveform[1])
        return [each.waveform.shape for each in found]

    narrow = Profile(window_seconds=(10, 10, 10), batch=(4, 8, 8))
    assert shapes(profiles=(narrow,)) == [(4, 240_000)]
    assert shapes() == [(2, 240_000), (2, 720_000)]
    assert all(takes(bundle.artefacts[0], each) for each in all_excerpts)
