"""A graph that goes on from one hidden state to a deeper one, cut out of a whole model's.

Each layer is a branch, run only where it lies between the two levels: asking for level 6 takes
six layers, and asking for the deepest afterwards the others.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...runtime.bundle.parts import ATTENTION_BIAS, FIRST, FRAMES, LAST, levels_inputs
from ...runtime.bundle.record import TensorSpec
from .nodes import read_by, selected, value_info
from .states import state_values

# What every layer reads besides the hidden state before it: written once, before them.
_POSITIONS = "conformer/positions/"
_OUTPUT = "features"
_ONE, _UNIT = "levels/one", "levels/unit"  # as a count and as a number


def levels_graph(whole: onnx.ModelProto, level: int, width: int) -> onnx.ModelProto:
    """Build the graph; its weights are as they are in ``whole``, places in a file included.

    Args:
        whole: the graph of a model up to ``level``, of any precision.
        level: the deepest hidden state that it gives.
        width: of a hidden state.
    """
    nodes, states = list(whole.graph.node), state_values(whole, level)
    positions = [node for node in nodes if node.name.startswith(_POSITIONS)]
    given = {name for node in positions for name in node.output}
    layers = [
        selected(nodes, {state, *given}, {following}) for state, following in pairwise(states)
    ]
    shared = selected(nodes, {FRAMES}, given & _read(node for each in layers for node in each))
    stored = {tensor.name: tensor for tensor in whole.graph.initializer}
    users = Counter(name for each in [shared, *layers] for name in _read(each) & stored.keys())
    found = onnx.ModelProto(
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        opset_import=whole.opset_import,
    )
    graph = found.graph
    graph.name = "levels"
    graph.input.extend(map(value_info, levels_inputs(width)))
    graph.node.extend(shared)
    own = _read(shared)
    graph.initializer.extend(
        tensor for name, tensor in stored.items() if users[name] > 1 or name in own
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), _ONE))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.float32), _UNIT))
    x = FRAMES
    for index, (layer, (state, following)) in enumerate(zip(layers, pairwise(states), strict=True)):
        inside = {name for name in _read(layer) & stored.keys() if users[name] == 1}
        branch = _branch(layer, following, [stored[name] for name in sorted(inside)])
        _rename(branch.node, state, x)
        x = _if_between(graph, index, branch, x)
    graph.node.append(helper.make_node("Identity", [x], [_OUTPUT]))
    graph.output.append(
        value_info(TensorSpec(name=_OUTPUT, dtype="float32", shape=["batch", "steps", width]))
    )
    return found


def _if_between(graph: onnx.GraphProto, index: int, branch: onnx.GraphProto, x: str) -> str:
    """Run the branch of a layer where it is asked for; returns the value behind it."""
    number, name = f"levels/{index}", f"level_{index + 1}"
    graph.initializer.append(numpy_helper.from_array(np.array(index, np.int64), number))
    graph.node.extend(
        [
            helper.make_node("LessOrEqual", [FIRST.name, number], [f"{number}/after_first"]),
            helper.make_node("Less", [number, LAST.name], [f"{number}/before_last"]),
            helper.make_node(
                "And", [f"{number}/after_first", f"{number}/before_last"], [f"{number}/asked"]
            ),
        ]
    )
    same = onnx.GraphProto(name=f"{number}/same")
    same.node.append(helper.make_node("Identity", [x], [f"{name}.same"]))
    same.output.append(_any_shape(f"{name}.same"))
    graph.node.append(
        helper.make_node(
            "If", [f"{number}/asked"], [name], name=name, then_branch=branch, else_branch=same
        )
    )
    return name


def _branch(
    nodes: Sequence[onnx.NodeProto], output: str, weights: Sequence[onnx.TensorProto]
) -> onnx.GraphProto:
    """A layer's nodes as a graph of its own, its scores biased."""
    branch = onnx.GraphProto(name=output)
    branch.node.extend(nodes)
    biased = _bias_scores(branch)
    assert biased == 1, f"{output}: {biased} products of queries and keys"
    branch.initializer.extend(weights)
    branch.output.append(_any_shape(output))
    return branch


def _bias_scores(graph: onnx.GraphProto) -> int:
    """Add the attention bias to the scores by one channel more of the queries and of the keys;
    returns how many products it found.

    A query's is 1 and a key's is its bias. The scores themselves, by far the largest values of a
    long input, are not read and written once more.
    """
    nodes, found = list(graph.node), 0
    del graph.node[:]
    for node in nodes:
        inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        # Blocks of queries are turns of a Loop, and their keys come from outside.
        for key in [key for each in inner for key in _lengthen_queries(each)]:
            found += 1
            graph.node.extend(_with_bias(key))
        graph.node.append(node)
    for key in _lengthen_queries(graph):
        found += 1
        place = next(i for i, node in enumerate(graph.node) if key in node.output) + 1
        for node in reversed(_with_bias(key)):
            graph.node.insert(place, node)
    return found


def _lengthen_queries(graph: onnx.GraphProto) -> list[str]:
    """Put 1 behind the queries of a graph's own scores, and name their longer keys; returns the
    keys."""
    nodes, keys = list(graph.node), []
    scores = {node.input[0] for node in nodes if node.op_type == "Softmax"}
    for node in reversed(nodes):  # a graph of 16 bits widens them before their exponentials
        if node.op_type == "Cast" and node.output[0] in scores:
            scores.add(node.input[0])
    del graph.node[:]
    for node in nodes:
        if node.op_type == "MatMul" and scores & set(node.output):
            query, key = node.input
            keys.append(key)
            own = f"{node.output[0]}/query"
            graph.node.extend(
                [
                    helper.make_node("Shape", [query], [f"{own}/rows"], end=3),
                    helper.make_node("Concat", [f"{own}/rows", _ONE], [f"{own}/shape"], axis=0),
                    helper.make_node("CastLike", [_UNIT, query], [f"{own}/unit"]),
                    helper.make_node("Expand", [f"{own}/unit", f"{own}/shape"], [f"{own}/ones"]),
                    helper.make_node("Concat", [query, f"{own}/ones"], [own], axis=3),
                ]
            )
            node.input[0], node.input[1] = own, f"{key}/biased"
        graph.node.append(node)
    return keys


def _with_bias(key: str) -> list[onnx.NodeProto]:
    """What puts each step's bias below its key, (batch, heads, channels, steps)."""
    own = f"{key}/biased"
    return [
        helper.make_node("CastLike", [ATTENTION_BIAS.name, key], [f"{own}/typed"]),
        helper.make_node("Shape", [key], [f"{own}/heads"], start=1, end=2),
        helper.make_node("Concat", [_ONE, f"{own}/heads", _ONE, _ONE], [f"{own}/shape"], axis=0),
        helper.make_node("Expand", [f"{own}/typed", f"{own}/shape"], [f"{own}/rows"]),
        helper.make_node("Concat", [key, f"{own}/rows"], [own], axis=2),
    ]


def _rename(nodes: Iterable[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for attribute in node.attribute:
            _rename(attribute.g.node, old, new)


def _read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return set().union(*map(read_by, nodes))


def _any_shape(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
