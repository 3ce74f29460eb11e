"""A tiny bundle with MuQ's interface, and one real server for the whole session."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muqrt.common.files import sha256
from muqrt.errors import MissingDependencyError
from muqrt.runtime.bundle.certificate import Certificate, Measurement
from muqrt.runtime.bundle.manifest import Artefact, Bundle, load_bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.bundle.tensorrt_plan import TensorRTPlan
from muqrt.triton_repo.contract.options import ServingOptions
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server.process import Server

from ..framing import muq_framing, one_artefact

WIDTH = 4
STEP_SAMPLES = 960
WINDOW_SAMPLES = 48_000
INPUTS = [TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])]
OUTPUTS = [
    TensorSpec(name="features", dtype="float32", shape=["batch", "steps", WIDTH]),
    TensorSpec(name="embedding", dtype="float32", shape=["batch", WIDTH]),
    TensorSpec(name="hidden_states", dtype="float32", shape=["batch", 2, "steps", WIDTH]),
]


def _graph() -> onnx.ModelProto:
    """Steps of 960 samples through one 960 -> 4 matrix: features, their mean, two levels."""
    constants = {
        "projection": np.random.default_rng(0).normal(size=(STEP_SAMPLES, WIDTH)) / 30,
        "step": np.array(STEP_SAMPLES, np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "stepped": np.array([0, -1, STEP_SAMPLES], np.int64),
    }
    nodes = [
        helper.make_node("Shape", ["waveform"], ["samples"], start=1, end=2),
        helper.make_node("Div", ["samples", "step"], ["steps"]),
        helper.make_node("Mul", ["steps", "step"], ["whole"]),
        helper.make_node("Slice", ["waveform", "zero", "whole", "one"], ["trimmed"]),
        helper.make_node("Reshape", ["trimmed", "stepped"], ["frames"]),
        helper.make_node("MatMul", ["frames", "projection"], ["features"]),
        helper.make_node("ReduceMean", ["features", "one"], ["embedding"], keepdims=0),
        helper.make_node("Tanh", ["features"], ["squashed"]),
        helper.make_node("Unsqueeze", ["features", "one"], ["level_0"]),
        helper.make_node("Unsqueeze", ["squashed", "one"], ["level_1"]),
        helper.make_node("Concat", ["level_0", "level_1"], ["hidden_states"], axis=1),
    ]
    initializers = [
        numpy_helper.from_array(a.astype(np.float32) if a.dtype == np.float64 else a, name)
        for name, a in constants.items()
    ]
    graph = helper.make_graph(
        nodes, "tiny", _values(INPUTS), _values(OUTPUTS), initializer=initializers
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="tests"
    )


def _values(specs: list[TensorSpec]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape) for s in specs]


def _certificate(artefact: Artefact) -> Certificate:
    measurements = [
        Measurement(
            audio="sine.wav",
            seconds=2.0,
            output=spec.name,
            finite=True,
            worst_frame_cosine=1.0,
            relative_l2=0.0,
            largest_difference=0.0,
        )
        for spec in artefact.outputs
    ]
    return Certificate(
        precision="fp32",
        artefact_sha256=artefact.digest,
        reference="tests",
        created="2026-01-01T00:00:00Z",
        environment={},
        measurements=measurements,
        passed=True,
    )


def make_bundle(folder: Path, *, certified: bool = True) -> Bundle:
    """A bundle on disk whose artefact has its weights in an external file beside it."""
    folder.mkdir(parents=True)
    onnx.save(
        _graph(),
        folder / "muq.onnx",
        save_as_external_data=True,
        location="muq.onnx.data",
        size_threshold=1024,
    )
    files = {name: sha256(folder / name) for name in ("muq.onnx", "muq.onnx.data")}
    facts = {"name": "onnx-fp32", "engine": "onnxruntime", "file": "muq.onnx", "files": files}
    framing = muq_framing(WINDOW_SAMPLES)
    bundle = one_artefact(folder, framing, inputs=INPUTS, outputs=OUTPUTS, **facts)
    (artefact,) = bundle.artefacts
    if certified:
        artefact.certificate = _certificate(artefact)
    bundle.save(folder)
    return load_bundle(folder)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle, certified. Shared: do not change its files."""
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def fresh_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Makes bundles of the test's own, which it may spoil."""

    def make(name: str = "bundle", *, certified: bool = True) -> Bundle:
        return make_bundle(tmp_path / name, certified=certified)

    return make


@pytest.fixture
def plan_bundle(fresh_bundle: Callable[..., Bundle]) -> Bundle:
    """A bundle with plans (only text) for two kinds of GPU, and one for another TensorRT."""
    bundle = fresh_bundle()
    (graph,) = bundle.artefacts
    for name, tensorrt, capability in (
        ("plan-8.6", "10.13.3.9", "8.6"),
        ("plan-9.0", "10.13.3.9", "9.0"),
        ("old-9.0", "10.12.0.36", "9.0"),
    ):
        file = f"muq-{name.removeprefix('plan-')}.plan"
        (bundle.folder / file).write_text(f"a plan for {capability}")
        plan = TensorRTPlan(tensorrt=tensorrt, compute_capability=capability, gpu="tests")
        described = graph.model_dump(exclude={"certificate", "name", "engine", "file", "files"})
        described |= {"name": name, "engine": "tensorrt", "target": "any", "plan": plan}
        hashes = {file: sha256(bundle.folder / file)}
        bundle.artefacts.append(Artefact(**described, file=file, files=hashes))
    bundle.save(bundle.folder)
    bundle = load_bundle(bundle.folder)
    for artefact in bundle.artefacts:
        artefact.certificate = _certificate(artefact)
    bundle.save(bundle.folder)
    return load_bundle(bundle.folder)


@pytest.fixture(scope="session")
def models(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the tiny bundle: batches of 8, a long queue delay, a short queue."""
    output = tmp_path_factory.mktemp("tiny") / "models"
    options = ServingOptions(
        max_batch_size=8, max_queue_delay_us=100_000, max_queue_size=16, threads=1
    )
    write_repository(bundle, output, options=options)
    return output


@pytest.fixture
def start_server(models: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts real servers on free ports and stops them after the test; skips without one."""
    started: list[Server] = []

    def start(repository: Path = models, **arguments: object) -> Server:
        arguments = {"log": tmp_path / "triton.log", "start_timeout_seconds": 60, **arguments}
        try:
            server = Server(repository, **arguments)  # type: ignore[arg-type]
        except MissingDependencyError as missing:
            pytest.skip(f"no Triton server: {missing}")
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real server on the tiny bundle for the whole session. Leave it ready."""
    log = tmp_path_factory.mktemp("server") / "triton.log"
    try:
        running = Server(models, log=log, start_timeout_seconds=60)
    except MissingDependencyError as missing:
        pytest.skip(f"no Triton server: {missing}")
    with running:
        yield running


@pytest.fixture
def waveform() -> Callable[..., np.ndarray]:
    """Makes float32 noise of shape (batch, samples)."""

    def make(samples: int = 24_000, batch: int = 1, seed: int = 0) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(scale=0.1, size=(batch, samples))
        return noise.astype(np.float32)

    return make
