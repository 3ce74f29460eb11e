"""Weights in 8 or 4 bits with float32 activations: a smaller file, almost the same numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper

from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Bundle
from ..bundle.candidate import fp32_source, onnx_candidate
from ..bundle.recipe import PrecisionRecipe
from ..graph.writer import RUNTIME_DOMAIN, Graph
from ..onnx_from_checkpoint import onnx_from_checkpoint
from ..parity.proof import Proof

BITS: dict[Precision, int] = {"int8-weights": 8, "int4-weights": 4}
_BLOCK_WEIGHTS = 64  # that share a scale
_INT8_PRODUCTS = 4  # accuracy_level: the activations of a block are rounded on the way
_QUANTIZED = ("front_end/", "conformer/")  # tags and tokens stay float32


class WeightOnlyGraph(Graph):
    """Stores the model's linear layers in 4 or 8 bits, for ONNX Runtime's MatMulNBits."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._bits = bits
        self._model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))

    def linear(self, name: str, matrix: np.ndarray, bias: np.ndarray | None, x: str) -> str:
        """x @ matrix + bias, for a matrix (in, out)."""
        if not self.scoped(name).startswith(_QUANTIZED):
            return super().linear(name, matrix, bias, x)
        codes, scales = packed(matrix.T, self._bits)
        stored = self.raw(f"{name}.weight", codes), self.raw(f"{name}.scale", scales)
        product = self.op(
            "MatMulNBits",
            x,
            *stored,
            domain=RUNTIME_DOMAIN,
            K=matrix.shape[0],
            N=matrix.shape[1],
            bits=self._bits,
            block_size=_BLOCK_WEIGHTS,
            accuracy_level=_INT8_PRODUCTS,
        )
        return self.biased(name, product, bias)


def packed(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Pack (out, in) real numbers for MatMulNBits.

    A block of weights has one scale, which makes its largest magnitude the lowest code: there is
    one more below zero than above.

    Returns:
        codes (out, blocks, bytes of a block) uint8, of four bits the even ones low; scales (out *
        blocks,) float32. The last block is filled up with zeros.
    """
    rows, columns = matrix.shape
    blocks = -(-columns // _BLOCK_WEIGHTS)
    padded = np.pad(matrix, ((0, 0), (0, blocks * _BLOCK_WEIGHTS - columns)))
    by_block = padded.reshape(rows, blocks, _BLOCK_WEIGHTS)
    place = np.abs(by_block).argmax(axis=2, keepdims=True)
    half = 2 ** (bits - 1)
    scales = np.take_along_axis(by_block, place, axis=2) / -half
    divisors = np.where(scales == 0, 1, scales)
    codes = np.clip(np.rint(by_block / divisors) + half, 0, 2 * half - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., ::2] | codes[..., 1::2] << 4
    return codes, scales.astype(np.float32).ravel()


@dataclass(frozen=True)
class WeightOnlyRecipe(PrecisionRecipe):
    """The artefact ``onnx-int8-weights`` or ``onnx-int4-weights``.

    The convolutions stay float32, in their short form.
    """

    known = BITS
    called = "quantized weights"

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Write the graph of the bundle's fp32 artefact with quantized weights.

        Raises:
            BundleError: there is no such artefact.
        """
        source = fp32_source(bundle)
        outputs = [spec.name for spec in source.outputs]
        writer = WeightOnlyGraph(BITS[self.precision])
        graph = onnx_from_checkpoint(
            proof.checkpoint.model, outputs, source.level, "any", proof.sources, writer
        )
        return onnx_candidate(bundle, graph, self.precision, folder, target="cpu")
