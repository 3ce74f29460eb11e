"""Every node that we export against what TensorRT's parser publishes that it takes.

The facts are those of onnx-tensorrt's docs/operators.md at TensorRT 10.15, of the operators that
appear in our graphs and a few that are likely to. It is no proof that an engine can be built.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

from muqrt.export.graph.mulan.towers import mulan_text_graph
from muqrt.export.graph.writer import Graph
from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.quantize.half.formats import HALVES
from muqrt.export.quantize.half.typed import typed
from muqrt.export.quantize.int8.calibration import Range
from muqrt.export.quantize.int8.sites import activations
from muqrt.export.quantize.qdq.formats import FORMATS
from muqrt.export.quantize.qdq.graph import QdqGraph, with_float16
from muqrt.export.sources.head import load_tag_head
from muqrt.export.sources.rvq import own_rvq
from muqrt.export.sources.sources import Sources
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.mulan.random_model import random_mulan

OPSETS = range(9, 25)
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
NUMBERS = FLOATS | {TensorProto.INT32, TensorProto.INT64}
ANY = NUMBERS | {TensorProto.BOOL}
EIGHT_BITS = {TensorProto.INT8, TensorProto.FLOAT8E4M3FN}
OPERATORS = {
    "Conv Cos CumSum Erf Exp Gemm LayerNormalization Log MatMul ReduceL2 Sigmoid": FLOATS,
    "Sin Softmax Sqrt Tanh": FLOATS,
    "Abs Add ArgMax Div Max Min Mul Pad Pow Range ReduceMax ReduceMean": NUMBERS,
    "ReduceSum Relu Sub": NUMBERS,
    "Concat Constant Expand Gather GatherND Identity Reshape Shape Slice Split": ANY,
    "Squeeze Transpose Unsqueeze Where": ANY,
    "Not": {TensorProto.BOOL},
    "Equal": ANY,  # the answer is a bool
    "DequantizeLinear QuantizeLinear": FLOATS | EIGHT_BITS,
    "Cast": ANY | {TensorProto.UINT8},
}
TYPES = {name: types for names, types in OPERATORS.items() for name in names.split()}
# Inputs that the parser reads while it builds: operator, and which input.
BUILD_TIME = {("ReduceMax", 1), ("ReduceMean", 1), ("Squeeze", 1), ("Unsqueeze", 1)}
BUILD_TIME |= {("CumSum", 1), ("ReduceL2", 1), ("ReduceSum", 1)}
BUILD_TIME |= {(name, i) for name in ("QuantizeLinear", "DequantizeLinear") for i in (1, 2)}
OUTPUTS = ["features", "embedding", "hidden_states", "tags", "tokens"]


@pytest.fixture(scope="module", params=["fp32", *HALVES, *FORMATS])
def exported(request: pytest.FixtureRequest, tiny_checkpoint: Path, tiny_head: Path) -> tuple:
    """A graph with every output for target any, its functions inlined; and its precision."""
    checkpoint, form = load_checkpoint(tiny_checkpoint), FORMATS.get(request.param)
    sources = Sources(load_tag_head(tiny_head), own_rvq(checkpoint))
    graph = Graph()
    if form is not None:
        watched = activations(checkpoint.model, checkpoint.model.config.encoder_depth)
        ranges = form.ranges(dict.fromkeys(watched, Range(-1.0, 1.0)))
        graph = QdqGraph(form.products(ranges), form)
    model = onnx_from_checkpoint(checkpoint.model, OUTPUTS, None, "any", sources, graph)
    if form is not None:
        model = with_float16(model, set())
    if request.param in HALVES:
        model = typed(model, HALVES[request.param])
    inlined = inliner.inline_local_functions(model)
    return shape_inference.infer_shapes(inlined, strict_mode=True), request.param


def refusals(model: onnx.ModelProto) -> Iterator[str]:
    """What the parser would not take."""
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {each.name: each.type.tensor_type.elem_type for each in values}
    types |= {each.name: each.data_type for each in graph.initializer}
    weights = {each.name: each for each in graph.initializer}
    constants = set(weights)
    for opset in model.opset_import:
        if opset.domain == "" and opset.version not in OPSETS:
            yield f"opset {opset.version}"
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update(node.output)
        if node.domain not in ("", "ai.onnx") or node.op_type not in TYPES:
            yield f"{node.name}: {node.domain} {node.op_type}"
            continue
        wrong = {types[name] for name in (*node.input, *node.output) if name}
        # Shapes, axes and indices are integers, whatever the data are.
        wrong -= TYPES[node.op_type] | {TensorProto.INT64}
        first = types[node.input[0]] if node.input else TensorProto.FLOAT
        if wrong or first not in TYPES[node.op_type]:
            names = [helper.tensor_dtype_to_np_dtype(each) for each in wrong or {first}]
            yield f"{node.name}: {node.op_type} of {names}"
        for index, name in enumerate(node.input):
            if (node.op_type, index) in BUILD_TIME and name not in constants:
                yield f"{node.name}: input {index} of {node.op_type} is not constant"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            for name in node.input[2:]:
                if numpy_helper.to_array(weights[name]).astype(float).any():
                    yield f"{node.name}: a zero point that is not 0"
        if node.op_type == "LayerNormalization" and len(node.output) > 1:
            yield f"{node.name}: a second answer"


def test_the_parser_takes_every_node(exported: tuple) -> None:
    assert list(refusals(exported[0])) == []


def test_the_parser_takes_every_node_of_a_text_tower() -> None:
    model = mulan_text_graph(random_mulan("tiny"), Graph())
    used = {node.op_type for node in model.graph.node}
    assert {"Erf", "Equal", "Not", "CumSum", "LayerNormalization"} <= used
    assert list(refusals(shape_inference.infer_shapes(model, strict_mode=True))) == []


def test_the_graph_holds_what_it_is_to_be_held_against(exported: tuple) -> None:
    model, precision = exported
    used = {node.op_type for node in model.graph.node}
    # The log-mel, the RVQ, the encoder and the head.
    assert {"Pad", "GatherND", "LayerNormalization", "Sqrt"} <= used
    assert ("QuantizeLinear" in used) == (precision in FORMATS)
    narrow = [each for each in model.graph.initializer if each.data_type in FLOATS]
    assert any(each.data_type != TensorProto.FLOAT for each in narrow) == (precision != "fp32")


@pytest.mark.parametrize(
    ("operator", "inputs", "complaint"),
    [
        ("Det", ["x"], "Det"),
        ("Relu", ["double"], "float64"),
        ("Sigmoid", ["integers"], "int64"),
        ("Squeeze", ["x", "axes"], "not constant"),
    ],
)
def test_what_it_would_refuse_is_found(operator: str, inputs: list[str], complaint: str) -> None:
    kinds = {"x": 1, "double": TensorProto.DOUBLE, "integers": 7, "axes": 7}
    given = [helper.make_tensor_value_info(name, kinds[name], [1]) for name in inputs]
    answer = helper.make_tensor_value_info("y", kinds[inputs[0]], None)
    nodes = [helper.make_node(operator, inputs, ["y"], name="node")]
    graph = helper.make_graph(nodes, "graph", given, [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert complaint in " ".join(refusals(model))
    model.opset_import[0].version = 25
    assert "opset 25" in list(refusals(model))


def test_attention_has_the_form_that_is_fused(exported: tuple) -> None:
    """Product, softmax, product, with the scale in the query's weights and nothing but Casts
    between them."""
    nodes = {name: node for node in exported[0].graph.node for name in node.output}
    readers = {name: node for node in exported[0].graph.node for name in node.input}

    softmaxes = [node for node in exported[0].graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == 12
    for softmax in softmaxes:
        before = nodes[softmax.input[0]]
        before = before if before.op_type != "Cast" else nodes[before.input[0]]
        after = readers[softmax.output[0]]
        after = after if after.op_type != "Cast" else readers[after.output[0]]
        assert (before.op_type, after.op_type) == ("MatMul", "MatMul")
