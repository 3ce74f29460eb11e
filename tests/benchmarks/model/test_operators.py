"""A small profile, written by hand, and what is made of it."""

from typing import Any

import pytest

from muqrt.benchmarks.measure.parts import part_of
from muqrt.benchmarks.model.operators import OperatorTime, operator_times


def node(start: int, duration: int, name: str, operator: str) -> dict[str, Any]:
    return {
        "cat": "Node",
        "ts": start,
        "dur": duration,
        "name": f"{name}_kernel_time",
        "args": {"op_name": operator},
    }


def run(start: int, scale: int) -> list[dict[str, Any]]:
    """Seven nodes, as ONNX Runtime writes them: each before the run it belongs to."""
    return [
        node(start + 1, 5 * scale, "MatMul_761", "MatMul"),
        node(start + 2, 10 * scale, "front_end/block_0/Conv.3_nchwc", "Conv"),
        node(start + 3, 20 * scale, "front_end/block_1/Relu_nchwc", "Conv"),
        node(start + 4, 3 * scale, "ReorderOutput_token_80", "ReorderOutput"),
        node(start + 5, 7 * scale, "conformer/layer_3/ffn1/MatMul.2", "MatMul"),
        node(start + 6, 2 * scale, "conformer/layer_3/Add", "Add"),
        node(start + 7, 1 * scale, "features", "Identity"),
        {"cat": "Session", "ts": start, "dur": 900, "name": "model_run", "args": {}},
    ]


LOADING = {"cat": "Session", "ts": 0, "dur": 90, "name": "session_initialization", "args": {}}


def test_a_profile_is_summed_up_by_part_and_operator() -> None:
    # The first run, a hundred times as slow, is left out; the others take 1 and 3 on average.
    events = [LOADING, *run(1000, 100), *run(2000, 1), *run(3000, 3)]
    found = operator_times("onnx-fp32", events)
    assert [(each.part, each.operator, each.nodes) for each in found] == [
        ("front end", "Conv", 2),
        ("feed-forward", "MatMul", 1),
        ("mel", "MatMul", 1),
        ("no scope", "ReorderOutput", 1),
        ("rest of encoder", "Add", 1),
        ("no scope", "Identity", 1),
    ]
    expected = [60e-6, 14e-6, 10e-6, 6e-6, 4e-6, 2e-6]
    assert [each.seconds for each in found] == pytest.approx(expected)
    assert all(isinstance(each, OperatorTime) and each.artefact == "onnx-fp32" for each in found)


def test_a_loop_is_not_counted_beside_what_runs_in_it() -> None:
    inside = node(2001, 40, "conformer/layer_0/self_attn/Softmax", "Softmax")
    around = node(2000, 50, "conformer/layer_0/self_attn/Loop", "Loop")
    events = [LOADING, *run(1000, 1), around, inside, *run(2000, 1)]
    seconds = {each.operator: each.seconds for each in operator_times("onnx-fp32", events)}
    assert seconds["Softmax"] == pytest.approx(40e-6)
    assert "Loop" not in seconds


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("front_end/MatMul", "front end"),
        ("conformer/layer_11/self_attn/Softmax", "attention"),
        ("conformer/layer_0/ffn2/Mul/QuickGeluFusion/", "feed-forward"),
        ("conformer/layer_0/conv_module/MatMul.2/MatmulTransposeFusion/", "convolution module"),
        ("conformer/positions/Cos", "rest of encoder"),
        ("tags/MatMul", "no scope"),
        ("Mul_764", None),
        ("", None),
    ],
)
def test_the_part_is_known_by_the_scopes(name: str, part: str | None) -> None:
    assert part_of(name) == part
