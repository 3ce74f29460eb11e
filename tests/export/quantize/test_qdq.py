"""Products in 8 bits as GPU engines take them: against plain numpy, and proven in a bundle."""

from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from muqrt.errors import BundleError, ParityError, UsageError
from muqrt.export.bundle.recipe import add
from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
from muqrt.export.engines.tensorrt.artefact import tensorrt_source
from muqrt.export.graph.writer import Graph
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.half.typed import nodes_of
from muqrt.export.quantize.int8.calibration import Range, calibration_music
from muqrt.export.quantize.qdq.artefact import QdqRecipe
from muqrt.export.quantize.qdq.formats import FORMATS, Float8Range, Format
from muqrt.export.quantize.qdq.graph import QdqGraph, with_float16
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.record import TensorSpec

LEVEL = 1
LARGEST = 3.0
# Every number of E4M3 from zero up: below 2**-6 in steps of 2**-9.
E4M3 = np.array(
    [m * 2.0**-9 for m in range(8)] + [(1 + m / 8) * 2.0**e for e in range(-6, 9) for m in range(8)]
)[:-1]  # its last code is no number


FLOAT16 = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)


def scale(largest: np.ndarray | float, form: Format) -> np.ndarray:
    """The smallest number of float16 by which the largest, divided, is within the format."""
    return FLOAT16[np.searchsorted(FLOAT16, np.asarray(largest) / form.largest)]


def nearest(x: np.ndarray, form: Format) -> np.ndarray:
    """The number of the format next to each of x, whose largest is the format's; naively."""
    numbers = np.arange(128.0) if form.name == "int8" else E4M3
    numbers = np.concatenate([-numbers[::-1], numbers])
    return numbers[np.abs(x[..., None] - numbers).argmin(-1)]


def rounded(x: np.ndarray, scales: np.ndarray | float, form: Format) -> np.ndarray:
    return nearest(np.clip(x / scales, -form.largest, form.largest), form) * scales


def answer(graph: QdqGraph, value: str, x: np.ndarray, outputs: list[int]) -> np.ndarray:
    """Of the graph retyped, with all of ONNX Runtime's rewriting but that of these nodes."""
    graph.rename(value, "y")
    given, specs = (
        [TensorSpec(name=name, dtype="float32", shape=list(shape))]
        for name, shape in (("x", x.shape), ("y", outputs))
    )
    model = with_float16(graph.model(given, specs), set())
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("uneven", [False, True])
def test_a_product_is_that_of_numbers_with_8_bits(form: Format, uneven: bool) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 5, 7)).astype(np.float32)
    matrix, bias = random.normal(size=(7, 11)), random.normal(size=11)
    channels = np.linspace(0.5, 2, 7, dtype=np.float32) if uneven else None
    graph = QdqGraph({"dense": Range(-LARGEST, 1.0, channels)}, form)
    ours = answer(graph, graph.linear("dense", matrix, bias, "x"), x, [3, 5, 11])

    divisors = np.ones(7) if channels is None else channels
    read = rounded(x / divisors, scale(LARGEST, form), form)
    axes = 0 if form.name == "int8" else (0, 1)
    stored = matrix * divisors[:, None]
    stored = rounded(stored, scale(np.abs(stored).max(axes), form), form)
    expected = read @ stored + bias
    # Sums and the answer are float16's.
    np.testing.assert_allclose(ours, expected, atol=4e-3 * np.abs(expected).max())
    exact = np.abs(ours - (x @ matrix + bias)).max()
    assert exact > 8e-3  # and so it is no float16 product


def test_a_convolution_is_that_of_numbers_with_8_bits() -> None:
    random, form = np.random.default_rng(1), FORMATS["int8"]
    x = random.normal(size=(2, 3, 6, 9)).astype(np.float32)
    kernel, bias = random.normal(size=(5, 3, 3, 3)), random.normal(size=5)
    graph = QdqGraph({"conv": Range(0.0, LARGEST)}, form)
    ours = answer(
        graph, graph.direct_convolution("conv", kernel, bias, "x", [2, 2]), x, [2, 5, 3, 5]
    )

    read = rounded(x, scale(LARGEST, form), form)
    peaks = np.abs(kernel).max((1, 2, 3), keepdims=True)
    stored = rounded(kernel, scale(peaks, form), form)
    tensors = (torch.from_numpy(each) for each in (read, stored, bias))
    expected = torch.nn.functional.conv2d(*tensors, stride=2, padding=1).numpy()
    np.testing.assert_allclose(ours, expected, atol=4e-3 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_ranges_round_as_the_graph_does(form: Format) -> None:
    x = np.random.default_rng(2).normal(size=(9, 7)).astype(np.float32)
    (found,) = form.ranges({"conformer/layer_0/ffn1/output_dense": Range(-1.0, LARGEST)}).values()
    assert isinstance(found, Float8Range) == (form.name == "fp8")
    ours = found.quantized(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, rounded(x, LARGEST / form.largest, form), atol=1e-6)


def test_what_has_no_range_is_written_as_before() -> None:
    graphs = QdqGraph({}, FORMATS["int8"]), Graph()
    for graph in graphs:
        graph.linear("dense", np.ones((2, 3)), np.ones(3), "x")
    ours, plain = ([node.op_type for node in graph.nodes] for graph in graphs)
    assert ours == plain == ["MatMul", "Add"]


def test_the_other_nodes_keep_their_names() -> None:
    """By which those that stay float32 were measured without 8 bits."""
    graphs = QdqGraph({"dense": Range(-1.0, 1.0, np.ones(2, np.float32))}, FORMATS["fp8"]), Graph()
    names = []
    for graph in graphs:
        graph.op("Mul", graph.linear("dense", np.ones((2, 3)), np.ones(3), "x"), "x")
        names.append({node.name for node in graph.nodes})
    assert names[1] <= names[0]


@pytest.fixture(scope="module")
def shallow(
    tiny_checkpoint: Path, short_music: list[Excerpt], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("qdq") / "bundle"
    checkpoint = load_checkpoint(tiny_checkpoint)
    bundle_from_checkpoint(Proof(checkpoint, music=short_music[:1]), folder, level=LEVEL)
    return folder


@pytest.fixture(scope="module")
def songs() -> list[Excerpt]:
    return [Excerpt(each.name, each.waveform[:, :96_000]) for each in calibration_music()]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_it_is_certified_and_what_tensorrt_builds_from(
    shallow: Path,
    tiny_checkpoint: Path,
    songs: list[Excerpt],
    short_music: list[Excerpt],
    tmp_path: Path,
    form: Format,
) -> None:
    bundle = load_bundle(copytree(shallow, tmp_path / "bundle"))
    named = "int8-qdq" if form.name == "int8" else "fp8"
    with pytest.raises(BundleError, match=f"--precision {named}"):
        tensorrt_source(bundle, form.name)
    checkpoint = load_checkpoint(tiny_checkpoint)
    add(bundle, QdqRecipe(form.name, songs), Proof(checkpoint, music=short_music[:1]))
    found = load_bundle(bundle.folder)
    assert [each.name for each in found.artefacts] == ["onnx-fp32", f"onnx-{form.name}-qdq"]
    artefact = tensorrt_source(found, form.name)
    assert artefact.certified and artefact.target == "any" and artefact.precision == form.name
    assert artefact.quantization is not None
    assert f"are {form.name}" in artefact.quantization.summary()

    model = onnx.load(found.path(artefact.file))
    written_by = {name: node for node in model.graph.node for name in node.output}
    products = [
        node
        for node in nodes_of(model, TensorProto.FLOAT16)
        if node.op_type in ("MatMul", "Conv")
        and all(written_by.get(n, node).op_type == "DequantizeLinear" for n in node.input[:2])
    ]
    sites = [site for site in artefact.quantization.sites if site.int8]
    assert len(products) >= len(sites) > 5
    assert any(node.op_type == "Conv" for node in products) <= form.convolutions
    stored = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    weights = [each for each in model.graph.initializer if each.name in stored]
    assert len(weights) == len(products)
    assert {each.data_type for each in weights} == {form.element}


def test_what_cannot_be_reached_is_refused(
    shallow: Path,
    tiny_checkpoint: Path,
    songs: list[Excerpt],
    short_music: list[Excerpt],
) -> None:
    checkpoint, bundle = load_checkpoint(tiny_checkpoint), load_bundle(shallow)
    before = (shallow / "bundle.json").read_bytes()
    with pytest.raises(UsageError, match="int8, fp8"):
        QdqRecipe("fp16", songs)
    with pytest.raises(UsageError, match=r"accuracy 0\.5"):
        QdqRecipe("int8", songs, 0.5)
    with pytest.raises(ParityError, match="cannot be reached in fp8"):
        proof = Proof(checkpoint, music=short_music[:1])
        add(bundle, QdqRecipe("fp8", songs, 1 - 1e-12), proof)
    assert (shallow / "bundle.json").read_bytes() == before
