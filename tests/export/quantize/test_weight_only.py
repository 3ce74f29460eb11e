"""Weights in 8 and 4 bits: packing against plain rounding, and the artefact."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.export.bundle.recipe import add
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.parity.proof import Proof
from muqrt.export.quantize.weight_only import WeightOnlyGraph, WeightOnlyRecipe, packed
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.record import TensorSpec

BLOCK = 64


def rounded(matrix: np.ndarray, bits: int) -> np.ndarray:
    """Every block of a row to the nearest multiples of its scale, one number at a time."""
    result = np.zeros_like(matrix)
    half = 2 ** (bits - 1)
    for row in range(len(matrix)):
        for start in range(0, matrix.shape[1], BLOCK):
            block = matrix[row, start : start + BLOCK]
            largest = max(block, key=abs)
            scale = -largest / half
            for i, number in enumerate(block):
                code = 0 if scale == 0 else min(max(round(number / scale), -half), half - 1)
                result[row, start + i] = code * scale
    return result


@given(st.sampled_from([4, 8]), st.integers(1, 5), st.integers(1, 200), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_product_is_that_of_rounded_weights(bits: int, out: int, inner: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix, bias = random.normal(size=(inner, out)), random.normal(size=out)
    matrix[:, 0] *= random.integers(0, 2)  # a channel of zeros now and then
    x = random.normal(size=(1, 3, inner)).astype(np.float32)
    graph = WeightOnlyGraph(bits)
    with graph.scope("conformer"):
        graph.rename(graph.linear("linear", matrix, bias, "x"), "y")
    specs = [TensorSpec(name=n, dtype="float32", shape=["b", "s", n]) for n in ("x", "y")]
    model = graph.model(specs[:1], specs[1:]).SerializeToString()
    (y,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    expected = x @ rounded(matrix.T, bits).T + bias
    # The activations of a block are rounded to bytes on the way.
    scale = np.abs(x).max() * np.abs(matrix).max() * inner**0.5
    assert np.abs(y - expected).max() <= 0.02 * scale + 1e-6


def test_four_bits_are_packed_low_first() -> None:
    codes, scales = packed(np.arange(BLOCK)[None] - 40.0, 4)
    assert codes.shape == (1, 1, BLOCK // 2) and scales.tolist() == [5.0]
    assert (codes[0, 0, 0] & 15, codes[0, 0, 0] >> 4) == (0, 0)  # -40 and -39 are -8 * 5
    assert (codes[0, 0, -1] & 15, codes[0, 0, -1] >> 4) == (12, 13)  # 22 and 23: 4 * 5 and 5 * 5


def test_other_scopes_stay_float32() -> None:
    graph = WeightOnlyGraph(4)
    graph.linear("tags", np.eye(3), None, "x")
    assert [node.op_type for node in graph.nodes] == ["MatMul"]


@pytest.mark.parametrize("precision", ["int8-weights"])
def test_the_artefact_is_small_and_certified(
    bundle_copy: Path, tiny_checkpoint: Path, short_music: list[Excerpt], precision: str
) -> None:
    bundle = load_bundle(bundle_copy)
    proof = Proof(load_checkpoint(tiny_checkpoint), music=short_music)
    artefact = add(bundle, WeightOnlyRecipe(precision), proof)
    found = load_bundle(bundle_copy)
    assert [each.name for each in found.artefacts] == ["onnx-fp32", "onnx-int8-weights"]
    assert found.artefact("onnx-int8-weights").certified
    assert found.artefact().name == "onnx-fp32" and found.artefacts[0].certified
    assert artefact.quantization is None
