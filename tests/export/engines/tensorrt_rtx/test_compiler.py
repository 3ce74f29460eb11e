"""NVIDIA's parser and compiler on graphs that are broken on purpose, and on Turing's form."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, inliner, numpy_helper

from muqrt.errors import BuildError
from muqrt.export.engines.tensorrt_rtx.compiler import RtxEngine, compile_for_rtx
from muqrt.export.engines.tensorrt_rtx.turing import products_as_convolutions
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.quantize.half.formats import HALVES
from muqrt.export.quantize.half.typed import typed
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.export.sources.sources import Sources
from muqrt.reference.checkpoint import load_checkpoint

SHAPES = {"waveform": ((1, 1_025), (1, 24_000), (4, 72_000))}


def saved(path: Path, *nodes: onnx.NodeProto, **constants: list[int]) -> Path:
    given = helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(np.array(each), name) for name, each in constants.items()]
    graph = helper.make_graph(nodes, "graph", [given], [answer], stored)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def compiled(path: Path, *targets: str) -> RtxEngine:
    return compile_for_rtx(path, targets or ("sm89",), [SHAPES])


def test_an_engine_for_several_targets(tmp_path: Path) -> None:
    graph = saved(tmp_path / "graph.onnx", helper.make_node("Relu", ["waveform"], ["y"]))
    steps: list[str] = []
    engine = compile_for_rtx(graph, ("sm86", "sm120"), [SHAPES], steps.append)
    assert len(engine.content) > 10_000
    assert engine.warnings == () and engine.version.count(".") == 3
    assert "Building engine" in steps


def test_a_step_that_raises_stops_the_build(tmp_path: Path) -> None:
    def interrupted(what: str) -> None:
        raise KeyboardInterrupt

    graph = saved(tmp_path / "graph.onnx", helper.make_node("Relu", ["waveform"], ["y"]))
    with pytest.raises(KeyboardInterrupt):
        compile_for_rtx(graph, ("sm89",), [SHAPES], interrupted)


def test_an_operator_that_tensorrt_lacks(tmp_path: Path) -> None:
    node = helper.make_node("Bernoulli", ["waveform"], ["y"], name="chance")
    graph = saved(tmp_path / "graph.onnx", node)
    with pytest.raises(BuildError, match=r"does not take node 'chance' \(Bernoulli\): not support"):
        compiled(graph)


def test_a_wrong_cast(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["waveform"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["half", "waveform"], ["y"], name="sum"),
    ]
    with pytest.raises(BuildError, match="of types Half and Float") as raised:
        compiled(saved(tmp_path / "graph.onnx", *nodes))
    assert "\n" not in str(raised.value) and "driver" not in str(raised.value)


def test_a_slice_up_to_a_computed_value(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ArgMax", ["waveform"], ["end"], axis=1, keepdims=0),
        helper.make_node("Slice", ["waveform", "zero", "end", "one"], ["y"], name="cut"),
    ]
    with pytest.raises(BuildError, match=r"node 'cut' \(Slice\)"):
        compiled(saved(tmp_path / "graph.onnx", *nodes, zero=[0], one=[1]))


def test_what_is_not_known(tmp_path: Path) -> None:
    graph = saved(tmp_path / "graph.onnx", helper.make_node("Relu", ["waveform"], ["y"]))
    with pytest.raises(BuildError, match="has no target sm90"):
        compiled(graph, "sm90")
    with pytest.raises(BuildError, match="refused shapes"):
        compile_for_rtx(graph, ("sm89",), [{"waveform": ((2, 1), (1, 1), (1, 1))}])


@pytest.fixture(scope="module")
def float16(tiny_checkpoint: Path, tiny_head: Path) -> onnx.ModelProto:
    checkpoint = load_checkpoint(tiny_checkpoint)
    sources = Sources(load_tag_head(tiny_head), own_rvq(checkpoint))
    outputs = ["features", "tags", "tokens"]
    model = onnx_from_checkpoint(checkpoint.model, outputs, None, "any", sources)
    return typed(model, HALVES["fp16"])


def test_every_node_has_a_name_of_its_own(float16: onnx.ModelProto) -> None:
    nodes = [*float16.graph.node, *(node for each in float16.functions for node in each.node)]
    counted = Counter(node.name for node in nodes)
    assert "" not in counted and counted.most_common(1)[0][1] == 1


def test_turings_form_has_the_same_numbers(float16: onnx.ModelProto) -> None:
    ours = products_as_convolutions(float16)
    waveform = 0.1 * np.random.default_rng(0).standard_normal((2, 24_000), np.float32)
    expected, found = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"waveform": waveform}
        )
        for model in (float16, ours)
    )
    for wanted, given in zip(expected[:2], found[:2], strict=True):
        # Sums in another order: single roundings to float16 fall to the other side.
        assert np.linalg.norm(wanted - given) < 1e-3 * np.linalg.norm(wanted)
    assert np.mean(expected[2] == found[2]) > 0.999


def test_turings_form_has_no_float32_products_of_weights(float16: onnx.ModelProto) -> None:
    def products(model: onnx.ModelProto) -> Counter[str]:
        return Counter(node.op_type for node in model.graph.node)

    plain = products(inliner.inline_local_functions(float16))
    ours = products(products_as_convolutions(float16))
    # The log-mel's two, the tokens' projection and stages, and the head's two layers.
    stages = 8
    assert plain["MatMul"] - ours["MatMul"] == 2 + 1 + stages + 2
    assert ours["Conv"] - plain["Conv"] == 2 + 1 + stages + 2
