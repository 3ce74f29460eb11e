"""Shapes against those that ONNX Runtime computes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from muqrt.benchmarks.roofline.walk import Walk
from muqrt.export.graph.saving import save_onnx
from muqrt.export.graph.writer import Graph
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.quantize.int8.calibration import Range
from muqrt.export.quantize.int8.graph import Int8Graph
from muqrt.export.quantize.weight_only import WeightOnlyGraph
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.record import TensorSpec

SIGNED, POSITIVE = Range(-1.0, 1.0), Range(0.0, 1.0)


def product(graph: Int8Graph, image: str) -> str:
    return graph.product("p", np.ones((7, 9)), np.ones(9), image, SIGNED)


def addition(graph: Int8Graph, image: str) -> str:
    row = graph.op("Slice", image, *(graph.constant([each]) for each in (0, 1, 2)))
    return graph.add(row, image, (SIGNED, SIGNED, POSITIVE))


def strided(graph: Int8Graph, image: str) -> str:
    ranges = SIGNED, POSITIVE
    return graph.convolution("c", np.ones((4, 7, 3, 3)), np.ones(4), image, [2, 1], ranges)


@pytest.mark.parametrize("write", [product, addition, strided])
def test_operators_on_bytes(write: Callable[[Int8Graph, str], str], tmp_path: Path) -> None:
    graph = Int8Graph({})
    codes = graph.quantize("waveform", SIGNED)
    image = graph.op("Reshape", codes, graph.constant([0, 5, 6, 7]))
    compare(graph, write(graph, image), tmp_path, (3, 5 * 6 * 7))


def test_a_product_with_weights_of_four_bits(tmp_path: Path) -> None:
    graph = WeightOnlyGraph(4)
    with graph.scope("conformer"):
        compare(graph, graph.linear("l", np.ones((50, 20)), None, "waveform"), tmp_path, (3, 50))


def compare(graph: Graph, result: str, folder: Path, shape: tuple[int, int]) -> None:
    graph.rename(result, "y")
    given = TensorSpec(name="waveform", dtype="float32", shape=["batch", "samples"])
    model = graph.model([given], [])
    model.graph.output.append(onnx.ValueInfoProto(name="y"))
    path = folder / "graph.onnx"
    onnx.save(model, path)
    _, [found] = Walk(path).run({"waveform": shape})
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [computed] = session.run(None, {"waveform": np.zeros(shape, np.float32)})
    assert found.shape == computed.shape
    assert onnx.helper.tensor_dtype_to_np_dtype(found.dtype) == computed.dtype


@pytest.mark.parametrize(("batch", "samples"), [(1, 24_000), (3, 70_001)])
def test_every_tensor_of_a_model(batch: int, samples: int, tmp_path: Path) -> None:
    """The graph for CPUs, with its tiles, windows and loops."""
    path = tmp_path / "model.onnx"
    model = onnx_from_checkpoint(random_model(TINY), ["features", "embedding"], target="cpu")
    save_onnx(model, path)
    steps, outputs = Walk(path).run({"waveform": (batch, samples)})
    inlined = onnx.inliner.inline_local_functions(onnx.load(path))
    ours = {value.name: value for step in steps for value in step.outputs}
    names = [name for node in inlined.graph.node for name in node.output if name in ours]
    del inlined.graph.output[:]
    inlined.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(inlined.SerializeToString(), options)
    waveform = np.zeros((batch, samples), np.float32)
    computed = session.run(names, {"waveform": waveform})
    assert len(names) > 200
    for name, answer in zip(names, computed, strict=True):
        assert ours[name].shape == answer.shape, name
        if ours[name].data is not None:
            np.testing.assert_array_equal(ours[name].data, answer)
    assert {each.name for each in outputs} == {"features", "embedding"}
