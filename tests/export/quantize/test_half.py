"""Half precision: rounding, types, ranges, emulation and the artefact, each against plain sums."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from muqrt.errors import BundleError, ParityError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.graph.writer import Graph
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt, excerpts
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.artefact import HalfRecipe
from muqrt.export.quantize.half.emulation import emulated
from muqrt.export.quantize.half.formats import HALVES
from muqrt.export.quantize.half.ranges import kept_nodes, observe
from muqrt.export.quantize.half.typed import PRODUCTS, nodes_of, typed
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.export.sources.sources import Sources
from muqrt.reference.checkpoint import Checkpoint, load_checkpoint
from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.record import TensorSpec
from muqrt.runtime.parity.here import runs_here
from muqrt.runtime.parity.measuring import measure

TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}
PRECISIONS = list(HALVES)
MUQ_MINI = Path(__file__).parents[3] / "reference" / "checkpoints" / "muq-mini"
SMALL = 2  # level; deep enough for every kind of node
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def rounded(values: np.ndarray, precision: str) -> np.ndarray:
    return torch.tensor(values).to(TORCH[precision]).float().numpy()


def run(model: onnx.ModelProto, x: np.ndarray, name: str = "x") -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: x})[0]


def perceptron(weights: np.ndarray, bias: np.ndarray, name: str = "waveform") -> onnx.ModelProto:
    """relu(x @ weights + bias) and its public name."""
    graph = Graph()
    with graph.scope("dense"):
        y = graph.op("Relu", graph.linear("linear", weights, bias, name))
    graph.rename(y, "y")
    rows = [
        TensorSpec(name=each, dtype="float32", shape=["rows", width])
        for each, width in zip((name, "y"), weights.shape, strict=True)
    ]
    return graph.model(rows[:1], rows[1:])


def scaled(factor: float) -> MuQ:
    """The same function as the tiny model's, with channels that are so much larger on the way."""
    model = random_model(TINY)
    block, layer = model.model.conv.conv[0], model.model.conformer.layers[0]
    with torch.no_grad():
        for norm, reader in (
            (block.bn1, block.conv2),
            (layer.conv_module.layer_norm, layer.conv_module.pointwise_conv1),
        ):
            norm.weight *= factor
            norm.bias *= factor
            reader.weight /= factor
    return model


@given(
    st.sampled_from(PRECISIONS),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_rounding_is_that_of_torch(precision: str, numbers: list[float]) -> None:
    values = np.array([numbers, numbers], np.float32)
    half = HALVES[precision]
    tensor = half.encoded("x", values)
    assert np.array_equal(half.decoded(tensor), rounded(values, precision))
    assert (tensor.data_type, list(tensor.dims)) == (half.element, [2, len(numbers)])
    assert half.largest == torch.finfo(TORCH[precision]).max
    assert 2 * half.unit_roundoff == torch.finfo(TORCH[precision]).eps


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kept", [True, False])
def test_every_step_is_rounded(precision: str, kept: bool) -> None:
    random = np.random.default_rng(0)
    x, weights = (random.normal(size=shape).astype(np.float32) for shape in ((7, 5), (5, 3)))
    bias = random.normal(size=3).astype(np.float32)
    half, names = HALVES[precision], {"dense/MatMul"} if kept else set()
    model = emulated(typed(perceptron(weights, bias), half, names), half)
    ours = run(model, x, "waveform")
    expected = np.maximum(x @ weights + bias, 0)
    if not kept:  # one that is kept takes what reads its answer with it
        product = rounded(rounded(x, precision) @ rounded(weights, precision), precision)
        expected = np.maximum(rounded(product + rounded(bias, precision), precision), 0)
        assert np.array_equal(ours, rounded(ours, precision))
    # A sum in another order may be rounded to the neighbour.
    np.testing.assert_allclose(ours, expected, rtol=1e-6 if kept else 2 * half.unit_roundoff)


@pytest.fixture(scope="module", params=PRECISIONS)
def graph(request: pytest.FixtureRequest, tiny_checkpoint: Path, tiny_head: Path) -> tuple:
    """A typed graph with everything in it, and its format."""
    checkpoint, half = load_checkpoint(tiny_checkpoint), HALVES[request.param]
    sources = Sources(load_tag_head(tiny_head), own_rvq(checkpoint))
    outputs = ["features", "embedding", "hidden_states", "tags", "tokens"]
    model = onnx_from_checkpoint(checkpoint.model, outputs, None, "any", sources)
    return typed(model, half), half


def test_the_types_are_in_the_file_and_agree(graph: tuple) -> None:
    model, half = graph
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {each.name: each.type.tensor_type.elem_type for each in values}
    types |= {each.name: each.data_type for each in inferred.initializer}
    casts = {node.output[0] for node in inferred.node if node.op_type == "Cast"}
    for node in inferred.node:
        found = {types[name] for name in node.input} & set(FLOATS)
        if node.op_type in PRODUCTS and not node.name.startswith(("head/", "rvq/")):
            assert found == {half.element}, node.name
        elif node.op_type in ("LayerNormalization", "Softmax", "ReduceMean", "Cos", "LogMel"):
            assert found == {TensorProto.FLOAT}, node.name
        if node.op_type == "Cast":  # nothing is rounded only to be widened, or cast for nothing
            assert node.input[0] not in casts
            assert types[node.input[0]] != types[node.output[0]]
        else:
            assert len(found) <= 1, node.name
    assert {types[each.name] for each in inferred.output} == {TensorProto.FLOAT, TensorProto.INT32}
    assert types["frames"] == TensorProto.FLOAT


def test_nearly_all_weights_are_narrow(graph: tuple) -> None:
    model, half = graph
    sizes = dict.fromkeys(FLOATS, 0)
    for each in model.graph.initializer:
        if each.data_type in sizes and each.name.startswith(("front_end", "conformer")):
            sizes[each.data_type] += int(np.prod(each.dims))
    assert sizes[half.element] > 20 * sizes[TensorProto.FLOAT] > 0
    narrow = {node.op_type for node in nodes_of(model, half.element)}
    assert {"Conv", "MatMul", "Relu", "Sigmoid", "Transpose"} <= narrow
    assert not narrow & {"LayerNormalization", "Softmax"}


def test_magnitudes_are_those_of_the_values(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weights, bias = random.normal(size=(5, 3)), random.normal(size=3)
    music = [Excerpt(str(i), random.normal(size=(4, 5)).astype(np.float32)) for i in range(3)]
    found = observe(perceptron(weights, bias), music, tmp_path)
    x = np.concatenate([each.waveform for each in music])
    product = x @ weights
    expected = {
        "dense/MatMul": np.abs(product).max(),
        "dense/Add": np.abs(product + bias).max(),
        "dense/Relu": (product + bias).max(),
    }
    for name, largest in expected.items():
        assert found.values[name] == pytest.approx(largest, rel=1e-5)
    assert found.sums == {"dense/MatMul": pytest.approx((np.abs(x) @ np.abs(weights)).max(), 1e-5)}
    assert found.by_part() == {"dense": pytest.approx(max(expected.values()), rel=1e-5)}


@pytest.mark.parametrize(
    ("scale", "weight", "reasons"),
    [
        (1.0, 1.0, {}),
        (1e4, 1.0, {"MatMul": "range", "Add": "range", "Relu": "range"}),
        # Both halves of the sum are large, and cancel.
        (1e3, 0.0, {"MatMul": "sum"}),
        (1.0, 1e-8, {"MatMul": "weights"}),
    ],
)
def test_numbers_keep_a_node_in_float32(
    scale: float, weight: float, reasons: dict[str, str], tmp_path: Path
) -> None:
    x = np.full((1, 64), scale, np.float32)
    weights = np.full((64, 1), weight)
    if weight == 0.0:
        weights[::2], weights[1::2] = 1, -1
    model = perceptron(weights, np.zeros(1))
    found = observe(model, [Excerpt("x", x)], tmp_path)
    model = perceptron(weights, np.zeros(1))
    fp16 = kept_nodes(model, found, HALVES["fp16"])
    assert {each.operator: each.reason for each in fp16} == reasons
    assert kept_nodes(model, found, HALVES["bf16"]) == []


def test_naive_half_precision_fails_where_ours_passes(
    short_music: list[Excerpt], tmp_path: Path
) -> None:
    model = scaled(3e5)
    checkpoint, excerpt = Checkpoint(model, "scaled", "0" * 64), short_music[0]
    waveform = torch.from_numpy(excerpt.waveform)
    half, gate = HALVES["fp16"], THRESHOLDS["fp16"]
    with torch.inference_mode():
        expected = model(waveform).hidden_states[SMALL].numpy()
        # Everything in half but the mel, as PyTorch does it.
        log_mel = model.model.preprocessor_melspec_2048(waveform).half()
        narrow = scaled(3e5).half().model
        x = narrow.conv(log_mel)
        positions = narrow.conformer.embed_positions(x.shape[1])
        for layer in narrow.conformer.layers[:SMALL]:
            x = layer(x, positions, None)
        assert not measure(
            excerpt.name, excerpt.seconds, "features", x.float().numpy(), expected
        ).passes(gate)
    # By the operators' kinds alone, the numbers not looked at.
    blind = typed(onnx_from_checkpoint(model, ["features"], SMALL, "any"), half)
    ours = run(emulated(blind, half), excerpt.waveform, "waveform")
    assert not measure(excerpt.name, excerpt.seconds, "features", ours, expected).passes(gate)

    proof = Proof(checkpoint, music=short_music[:1])
    bundle = bundle_from_checkpoint(proof, tmp_path / "bundle", level=SMALL)
    artefact = add(bundle, HalfRecipe("fp16"), proof)
    assert artefact.certified and artefact.mixed_precision is not None
    kept = {each.name: each for each in artefact.mixed_precision.kept}
    assert {"front_end/block_0/Conv", "front_end/block_0/Conv.2"} <= kept.keys()
    pointwise = kept["conformer/layer_0/conv_module/MatMul"]
    assert pointwise.reason == "range" and pointwise.figure > half.largest
    assert "front_end/block_1/Conv" not in kept
    assert pointwise.name in artefact.mixed_precision.summary()


def test_what_the_format_cannot_do_is_refused(
    short_music: list[Excerpt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime computes fp16 in float32: the emulation must find what it hides."""
    model = scaled(3e5)
    checkpoint = Checkpoint(model, "scaled", "0" * 64)
    bundle = bundle_from_checkpoint(Proof(checkpoint), tmp_path / "bundle", level=SMALL)
    before = (tmp_path / "bundle" / "bundle.json").read_bytes()
    monkeypatch.setattr("muqrt.export.quantize.half.artefact.kept_nodes", lambda *_: [])
    with pytest.raises(ParityError, match="every rounding emulated"):
        add(bundle, HalfRecipe("fp16"), Proof(checkpoint, music=short_music[:1]))
    assert (tmp_path / "bundle" / "bundle.json").read_bytes() == before


def test_what_costs_most_stays_float32_where_the_gate_is_missed(
    shallow: Path,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a gate that everything in 16 bits misses twice."""
    bundle = load_bundle(shallow)
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])
    whole = add(bundle, HalfRecipe("bf16"), proof).mixed_precision
    assert whole is not None and whole.kept == []
    limit = whole.emulation.relative_l2 / 2
    gate = THRESHOLDS["bf16"].model_copy(update={"relative_l2": limit})
    monkeypatch.setitem(THRESHOLDS, "bf16", gate)
    found = add(bundle, HalfRecipe("bf16"), proof).mixed_precision
    assert found is not None and found.emulation.relative_l2 <= limit
    assert all(each.reason == "error" and each.figure > 0 for each in found.kept)
    names = {each.name for each in found.kept}
    # The log-mel's two convolutions: hardly any work, and its range is wide.
    assert {"front_end/block_0/Conv", "front_end/block_0/Conv.3"} <= names
    assert 50 < found.half_nodes <= whole.half_nodes - len(names)
    model = onnx.load(bundle.path("muq-bf16.onnx"))
    assert not names & {node.name for node in nodes_of(model, TensorProto.BFLOAT16)}


def test_a_gate_that_nothing_reaches_leaves_the_bundle_alone(
    shallow: Path,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, before = load_bundle(shallow), (shallow / "bundle.json").read_bytes()
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])
    gate = THRESHOLDS["bf16"].model_copy(update={"relative_l2": 1e-6})
    monkeypatch.setitem(THRESHOLDS, "bf16", gate)
    with pytest.raises(ParityError, match=r"every rounding emulated, \(bf16\) does not match"):
        add(bundle, HalfRecipe("bf16"), proof)
    assert (shallow / "bundle.json").read_bytes() == before


@pytest.mark.full
def test_bf16_of_muq_mini_is_within_the_gate(tmp_path: Path) -> None:
    """All of it in 16 bits changes a tag by 9e-3."""
    checkpoint, head = load_checkpoint(MUQ_MINI), load_tag_head(MUQ_MINI / "tags")
    proof = Proof(checkpoint, head, music=excerpts())
    bundle = bundle_from_checkpoint(Proof(checkpoint, head), tmp_path / "bundle")
    artefact = add(bundle, HalfRecipe("bf16"), proof)
    record = artefact.mixed_precision
    assert record is not None and 0 < len(record.kept) < 15
    assert record.emulation.largest_tag_change < THRESHOLDS["bf16"].largest_tag_change


@pytest.fixture
def shallow(tiny_checkpoint: Path, short_music: list[Excerpt], tmp_path: Path) -> Path:
    """A certified bundle of the tiny checkpoint's first layers."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    bundle_from_checkpoint(
        Proof(checkpoint, music=short_music[:1]), tmp_path / "bundle", level=SMALL
    )
    return tmp_path / "bundle"


def test_fp16_is_certified_beside_fp32(
    shallow: Path, tiny_checkpoint: Path, short_music: list[Excerpt]
) -> None:
    bundle = load_bundle(shallow)
    checkpoint, steps = load_checkpoint(tiny_checkpoint), []
    proof = Proof(checkpoint, music=short_music[:1], on_step=steps.append)
    add(bundle, HalfRecipe("fp16"), proof)
    found = load_bundle(shallow)
    assert [each.name for each in found.artefacts] == ["onnx-fp32", "onnx-fp16"]
    artefact = found.artefact("onnx-fp16")
    assert (artefact.target, artefact.file) == ("any", "muq-fp16.onnx")
    assert found.artefact().name == "onnx-fp32"
    record = artefact.mixed_precision
    assert record is not None and record.kept == [] and record.half_nodes > 80
    assert record.float32_nodes["LayerNormalization"] == 10
    assert {"LogMel", "front_end/block_0", "conformer/layer_1"} <= record.largest.keys()
    assert 0.9995 < record.emulation.worst_frame_cosine < 1
    assert steps == [f"{what}: {short_music[0].name}" for what in ("ranges", "emulation", "parity")]
    assert runs_here(found, artefact)


def test_bf16_waits_for_an_engine_that_can(
    shallow: Path, tiny_checkpoint: Path, short_music: list[Excerpt]
) -> None:
    bundle = load_bundle(shallow)
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])
    artefact = add(bundle, HalfRecipe("bf16"), proof)
    assert artefact.certificate is None and artefact.mixed_precision is not None
    assert 1e-3 < artefact.mixed_precision.emulation.relative_l2 < 2e-2
    found = load_bundle(shallow)
    assert found.artefact().name == "onnx-fp32"
    with pytest.raises(BundleError, match="no passing parity certificate"):
        found.artefact("onnx-bf16")
    assert not runs_here(found, artefact) and runs_here(found, found.artefact())
    model = onnx.load(found.path("muq-bf16.onnx"))
    weights = {each.name: each for each in model.graph.initializer}
    kernel = weights["front_end/block_0/conv1.weight/bfloat16"]
    assert kernel.data_type == TensorProto.BFLOAT16
    exact = numpy_helper.to_array(
        next(
            each
            for each in onnx.load(found.path("muq.onnx")).graph.initializer
            if each.name == "front_end/linear.bias"
        )
    )
    stored = HALVES["bf16"].decoded(weights["front_end/linear.bias/bfloat16"])
    assert np.array_equal(stored, rounded(exact, "bf16"))


def test_parity_leaves_what_does_not_run_here_unproven(
    muqrt: Callable[..., CompletedProcess[str]],
    shallow: Path,
    tiny_checkpoint: Path,
    short_music: list[Excerpt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = load_bundle(shallow)
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short_music[:1])
    add(bundle, HalfRecipe("bf16"), proof)
    bundle.artefacts[0].certificate = None
    bundle.save(shallow)
    monkeypatch.setattr("muqrt.export.parity.excerpt.EXCERPT_SAMPLES", (24_000, 33_333))
    done = muqrt("parity", shallow, "--checkpoint", tiny_checkpoint)
    assert done.returncode == 0, done.stderr
    assert "onnx-bf16 was not proven" in done.stdout
    found = load_bundle(shallow).artefacts
    assert [each.certified for each in found] == [True, False]
