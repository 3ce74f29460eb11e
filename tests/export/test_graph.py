import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from muqrt.export.graph import Graph


def test_names_are_unique_and_scoped() -> None:
    graph = Graph()
    with graph.scope("a"), graph.scope("b"):
        names = [graph.op("Relu", "x") for _ in range(3)]
    assert names == ["a/b/Relu", "a/b/Relu.2", "a/b/Relu.3"]
    assert graph.op("Relu", "x") == "Relu"


def test_equal_constants_are_stored_once() -> None:
    graph = Graph()
    assert graph.constant([1, 2]) == graph.constant([1, 2])
    assert graph.constant([1, 2]) != graph.constant([[1, 2]])
    assert graph.constant(1) != graph.constant(1, dtype=np.float32)
    assert len(graph.initializers) == 4


def test_a_model_computes_what_was_written() -> None:
    graph = Graph()
    matrix, bias = np.arange(6.0).reshape(2, 3), np.ones(3)
    graph.rename(graph.linear("dense", matrix, bias, "x"), "y")
    model = graph.model({"x": ["batch", 2]}, {"y": ["batch", 3]})
    onnx.checker.check_model(model, full_check=True)
    x = np.array([[1, 2], [3, 4]], dtype=np.float32)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ matrix + bias)
