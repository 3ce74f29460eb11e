import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from muqrt.export.graph.writer import Graph
from muqrt.runtime.bundle.record import TensorSpec


def spec(name: str, width: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=["batch", width])


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
    model = graph.model([spec("x", 2)], [spec("y", 3)])
    onnx.checker.check_model(model, full_check=True)
    x = np.array([[1, 2], [3, 4]], dtype=np.float32)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(y, x @ matrix + bias)


def test_outputs_have_the_type_that_is_said() -> None:
    graph = Graph()
    graph.rename(graph.op("ArgMax", "x", axis=1), "y")
    model = graph.model([spec("x", 2)], [spec("y", 1, "int64")])
    onnx.checker.check_model(model, full_check=True)
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.array([[1, 2]], dtype=np.float32)})
    np.testing.assert_array_equal(y, [[1]])
