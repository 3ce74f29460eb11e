from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from muqrt.export.graph.mulan.towers import mulan_text_graph
from muqrt.export.quantize.int8.graph import Int8Graph
from muqrt.export.quantize.int8.weights import quantized
from muqrt.reference.mulan.model import MuLan
from muqrt.reference.mulan.random_model import random_mulan
from muqrt.runtime.bundle.certificate import THRESHOLDS
from muqrt.runtime.bundle.record import TensorSpec

Run = Callable[[onnx.ModelProto], Callable[..., np.ndarray]]

INT8 = THRESHOLDS["int8"]
LENGTHS = np.array([40, 3, 12, 2, 25])


def run(graph: Int8Graph, x: np.ndarray) -> np.ndarray:
    """y (a, b, width) of a graph of x, which is (a, b) or (a, b, inner)."""
    given = TensorSpec(name="x", dtype=x.dtype.name, shape=["a", "b", "inner"][: x.ndim])
    found = TensorSpec(name="y", dtype="float32", shape=["a", "b", "width"])
    model = graph.model([given], [found]).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@given(
    rows=st.integers(1, 5),
    inner=st.integers(1, 70),
    out=st.integers(1, 9),
    with_bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_each_row_is_rounded_in_its_own_range(
    rows: int, inner: int, out: int, with_bias: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # A range for all of them would leave nothing of the smallest.
    sizes = 10.0 ** random.integers(-4, 4, (2, rows, 1))
    x = (random.normal(size=(2, rows, inner)) * sizes).astype(np.float32)
    x[0, 0] *= random.integers(0, 2)  # zeros, now and then
    matrix = random.normal(size=(inner, out))
    bias = random.normal(size=out) if with_bias else None
    graph = Int8Graph()
    with graph.scope("text"):
        y = graph.linear("linear", matrix, bias, "x")
    graph.rename(y, "y")
    codes, scales = quantized(matrix.T)
    stored = (codes * scales[:, None].astype(np.float64)).T
    expected = x @ stored + (0 if bias is None else bias)
    half_a_code = np.abs(x).max(axis=2, keepdims=True) / 127 / 2
    allowed = half_a_code * np.abs(stored).sum(0)
    assert (np.abs(run(graph, x) - expected) <= 1.001 * allowed + 1e-6).all()


def test_vectors_of_a_table() -> None:
    table = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
    table[2] = 0
    table[3] *= 1e-3
    graph = Int8Graph()
    graph.rename(graph.lookup("words", table, "x"), "y")
    indices = np.array([[6, 2, 3], [3, 0, 1]])
    found = run(graph, indices)
    half_a_code = np.abs(table).max(axis=1, keepdims=True) / 127 / 2
    assert (np.abs(found - table[indices]) <= 1.001 * half_a_code[indices]).all()


@pytest.fixture(scope="module")
def small_mulan() -> MuLan:
    return random_mulan("small")


def test_texts_are_within_the_gate(small_mulan: MuLan, runner: Run) -> None:
    tower = runner(mulan_text_graph(small_mulan, Int8Graph()))
    mask = (np.arange(LENGTHS.max()) < LENGTHS[:, None]).astype(np.int64)
    ids = np.where(mask, np.random.default_rng(0).integers(3, 8_000, mask.shape), 1)
    ours = tower(ids=ids, mask=mask)
    with torch.inference_mode():
        reference = small_mulan.text_latents(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert (ours * reference).sum(1).min() >= INT8.worst_frame_cosine
    assert np.linalg.norm(ours - reference) / np.linalg.norm(reference) <= INT8.relative_l2
    for row, length in enumerate(LENGTHS):
        alone = tower(ids=ids[row : row + 1, :length], mask=mask[row : row + 1, :length])
        # Far less than quantization costs; rounding elsewhere may turn a code or two.
        assert np.linalg.norm(alone[0] - ours[row]) <= 2e-3


def test_no_large_weight_is_float32(small_mulan: MuLan) -> None:
    weights = mulan_text_graph(small_mulan, Int8Graph()).graph.initializer
    largest = max(np.prod(each.dims) for each in weights if each.data_type == TensorProto.FLOAT)
    assert largest == 8_000  # the scales of the vocabulary's vectors
