"""Operations and bytes of graphs: small ones by hand, models against the formula."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from muqrt.benchmarks.measure.latency import Cell
from muqrt.benchmarks.measure.parts import FRONT_END, MEL
from muqrt.benchmarks.model.arithmetic import multiply_adds
from muqrt.benchmarks.roofline.values import Value
from muqrt.benchmarks.roofline.walk import Walk
from muqrt.benchmarks.roofline.work import Group, count
from muqrt.errors import BundleError
from muqrt.export.graph.saving import save_onnx
from muqrt.export.graph.writer import Graph
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.quantize.half.formats import HALVES
from muqrt.export.quantize.half.typed import typed
from muqrt.reference.config import MuQConfig
from muqrt.reference.random_model import LARGE, TINY, random_model
from muqrt.runtime.bundle.record import TensorSpec

CELL = Cell(2.0, 3)
ONE_LAYER = dataclasses.replace(LARGE, encoder_depth=1)


def saved(graph: Graph, result: str, folder: Path) -> Path:
    """The graph of ``waveform`` (batch, samples) with one output."""
    graph.rename(result, "y")
    given = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
    answer = TensorSpec(name="y", dtype="float32", shape=["batch", "n"])
    path = folder / "graph.onnx"
    save_onnx(graph.model([given], [answer]), path)
    return path


def groups(path: Path, shape: tuple[int, int], as_if: str | None = None) -> list[Group]:
    return count(*Walk(path).run({"waveform": shape}), as_if)


def flops(found: list[Group]) -> dict[str, int]:
    """Multiply-adds by part, all precisions together."""
    parts: dict[str, int] = {}
    for group in found:
        parts[group.part] = parts.get(group.part, 0) + sum(group.multiply_adds.values())
    return parts


def two_products(folder: Path) -> Path:
    graph = Graph()
    with graph.scope("front_end"):
        x = graph.linear("a", np.ones((6, 4)), np.zeros(4), "waveform")
    with graph.scope("conformer"):
        x = graph.op("Relu", x)
        with graph.scope("layer_0"), graph.scope("ffn1"):
            x = graph.linear("b", np.ones((4, 5)), None, x)
    return saved(graph, x, folder)


def test_two_products_by_hand(tmp_path: Path) -> None:
    first, second = groups(two_products(tmp_path), (2, 6))
    assert (first.part, second.part) == ("front end", "feed-forward")
    assert dict(first.multiply_adds) == {"fp32": 2 * 6 * 4}
    assert dict(second.multiply_adds) == {"fp32": 2 * 4 * 5}
    assert first.weight_bytes == 4 * (6 * 4 + 4) and second.weight_bytes == 4 * 4 * 5
    # The ReLU in between belongs to the first: (2, 4) passes from one to the other, once.
    assert list(first.read_bytes.values()) == [4 * 2 * 6]
    assert list(first.written_bytes.values()) == list(second.read_bytes.values()) == [4 * 2 * 4]
    assert list(second.written_bytes.values()) == [4 * 2 * 5]


def test_as_if_in_half_precision_the_bytes_are_half(tmp_path: Path) -> None:
    path = two_products(tmp_path)
    single, half = groups(path, (2, 6)), groups(path, (2, 6), "fp16")
    for one, other in zip(single, half, strict=True):
        assert dict(other.multiply_adds) == {"fp16": one.multiply_adds["fp32"]}
        assert 2 * other.weight_bytes == one.weight_bytes
        assert [2 * each for each in other.read_bytes.values()] == list(one.read_bytes.values())


def test_a_convolution_by_hand(tmp_path: Path) -> None:
    graph = Graph()
    image = graph.op("Reshape", "waveform", graph.constant([0, 4, 4, 4]))
    kernel = graph.weight("w", np.ones((6, 2, 3, 3)))
    x = graph.op("Conv", image, kernel, group=2, strides=[2, 1], pads=[1, 1, 1, 1])
    [group] = groups(saved(graph, x, tmp_path), (5, 64))
    # (5, 6, 2, 4) results of 3x3 taps on the two channels of a group.
    assert dict(group.multiply_adds) == {"fp32": 5 * 6 * 2 * 4 * 9 * 2}
    assert group.weight_bytes == 4 * 6 * 2 * 9


def test_each_turn_of_a_loop_counts_with_its_own_shape(tmp_path: Path) -> None:
    graph = Graph()
    samples = graph.op("Shape", "waveform", start=1, end=2)
    turns = graph.op("Squeeze", graph.op("Div", samples, graph.constant([2])))
    ones = graph.weight("w", np.ones((3, 4)))

    first = graph.op("Slice", "waveform", *(graph.constant([n]) for n in (0, 3, 1)))
    square = graph.weight("square", np.ones((4, 4)))
    with_four = graph.op("MatMul", first, ones)

    def doubled(number: str, before: str) -> str:
        return graph.op("Concat", before, graph.op("MatMul", before, square), axis=0)

    [group] = groups(saved(graph, graph.loop(turns, with_four, doubled), tmp_path), (2, 7))
    # 7 samples: 3 turns, on 2, 4 and 8 rows.
    assert dict(group.multiply_adds) == {"fp32": 2 * 3 * 4 + (2 + 4 + 8) * 4 * 4}
    assert group.weight_bytes == 4 * (3 * 4 + 4 * 4)


def test_a_product_of_dequantized_factors_is_in_8_bits(tmp_path: Path) -> None:
    graph = Graph()
    scale, zero = graph.constant(0.1, np.float32), graph.constant(0, np.int8)
    codes = graph.op("QuantizeLinear", "waveform", scale, zero)
    x = graph.op("DequantizeLinear", codes, scale, zero)
    stored = graph.raw("w", np.ones((6, 400), np.int8))
    weights = graph.op("DequantizeLinear", stored, graph.weight("s", np.ones(400)), axis=1)
    [group] = groups(saved(graph, graph.op("MatMul", x, weights), tmp_path), (2, 6))
    assert dict(group.multiply_adds) == {"int8": 2 * 6 * 400}
    # Codes and their scales, and the scale and zero point of the input.
    assert group.weight_bytes == 6 * 400 + 400 + 4 + 1


def test_what_is_computed_from_a_weight_counts_as_the_weight(tmp_path: Path) -> None:
    graph = Graph()
    half = graph.op("Cast", graph.raw("w", np.ones((6, 4), np.float16)), to=TensorProto.FLOAT)
    batch = graph.op("Concat", graph.op("Shape", "waveform", end=1), graph.constant([4]), axis=0)
    bias = graph.op("Expand", graph.weight("b", np.ones((1, 4))), batch)
    x = graph.op("Add", graph.op("MatMul", "waveform", half), bias)
    [group] = groups(saved(graph, x, tmp_path), (9, 6))
    assert group.weight_bytes == 4 * (6 * 4 + 4)


def test_only_what_an_output_needs_is_counted(tmp_path: Path) -> None:
    graph = Graph()
    graph.rename(graph.linear("a", np.ones((6, 4)), None, "waveform"), "x")
    path = saved(graph, graph.linear("b", np.ones((6, 9)), None, "waveform"), tmp_path)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    onnx.save(model, path)
    [both], [one] = (count(*Walk(path).run({"waveform": (2, 6)}, names)) for names in (None, ["x"]))
    assert both.multiply_adds["fp32"] == 2 * 6 * (4 + 9)
    assert one.multiply_adds["fp32"] == 2 * 6 * 4


@pytest.mark.parametrize(
    ("operator", "inputs", "options", "reason"),
    [
        ("Einsum", 2, {"equation": "ij,jk->ik"}, "not counted"),
        ("NonZero", 1, {}, "depends on the input's numbers"),
        ("Unheard", 1, {}, "Unheard"),
    ],
)
def test_what_cannot_be_counted_is_said(
    operator: str, inputs: int, options: dict[str, str], reason: str, tmp_path: Path
) -> None:
    graph = Graph()
    given = ["waveform", graph.weight("w", np.ones((6, 2)))][:inputs]
    path = saved(graph, graph.op(operator, *given, **options), tmp_path)
    with pytest.raises(BundleError, match=reason):
        groups(path, (2, 6))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"RIFF of something else")
    with pytest.raises(BundleError, match="cannot read this ONNX graph"):
        Walk(path)


@pytest.fixture(scope="module")
def tiny_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(TINY, tmp_path_factory.mktemp("tiny"))


def written(config: MuQConfig, folder: Path, target: str = "any") -> Path:
    path = folder / f"{target}.onnx"
    save_onnx(onnx_from_checkpoint(random_model(config), ["features"], target=target), path)
    return path


def matches(path: Path, config: MuQConfig) -> None:
    found = flops(groups(path, (CELL.batch, round(24_000 * CELL.window_seconds))))
    assert found.pop(MEL) > 0
    formula = multiply_adds(config, CELL)
    assert found == {part: pytest.approx(each, rel=0.01) for part, each in formula.items()}


def test_a_model_is_counted_as_by_the_formula(tiny_graph: Path) -> None:
    matches(tiny_graph, TINY)


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("config", [ONE_LAYER, LARGE], ids=["one layer", "released"])
def test_the_released_size_is_counted_as_by_the_formula(config: MuQConfig, tmp_path: Path) -> None:
    matches(written(config, tmp_path), config)


def test_winograd_products_count_as_what_they_are(tiny_graph: Path, tmp_path: Path) -> None:
    direct = flops(groups(tiny_graph, (1, 240_000)))
    tiled = flops(groups(written(TINY, tmp_path, "cpu"), (1, 240_000)))
    assert {k: v for k, v in tiled.items() if k != FRONT_END} == {
        k: v for k, v in direct.items() if k != FRONT_END
    }
    assert tiled[FRONT_END] != direct[FRONT_END]


def test_as_if_is_what_the_half_precision_graph_computes(tiny_graph: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    onnx.save(typed(onnx.load(tiny_graph), HALVES["fp16"], set()), half)
    real, as_if = groups(half, (2, 48_000)), groups(tiny_graph, (2, 48_000), "fp16")
    assert flops(real) == flops(as_if)
    assert [set(each.multiply_adds) for each in real if each.part != MEL and each.multiply_adds]
    for one, other in zip(real, as_if, strict=True):
        if one.part != MEL:
            assert set(one.multiply_adds) == set(other.multiply_adds) <= {"fp16"}
    weights = [sum(each.weight_bytes for each in found) for found in (real, as_if)]
    assert weights[0] == pytest.approx(weights[1], rel=0.05)


def test_a_values_elements() -> None:
    assert Value("x", TensorProto.FLOAT, (2, 3, 4)).elements == 24
    assert Value("x", TensorProto.FLOAT, ()).elements == 1
