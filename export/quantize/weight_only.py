"""Weights in 8 or 4 bits, activations as they are: a smaller file, hardly another answer."""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper

from ...reference.checkpoint import Checkpoint
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ..bundle.artefact_writer import candidate, fp32_source, put
from ..bundle.workspace import workspace
from ..graph.writer import RUNTIME_DOMAIN, Graph
from ..onnx_from_checkpoint import onnx_from_checkpoint
from ..parity.excerpts import Excerpt
from ..parity.gate import parity, refuse_uncertified, require_source
from ..sources.checkpoint import mulan_of
from ..sources.head import TagHead
from ..sources.rvq import TokenRvq

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
    """(out, in) real numbers as MatMulNBits reads them.

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


def add_weight_only(
    bundle: Bundle,
    checkpoint: Checkpoint,
    music: Sequence[Excerpt],
    precision: Precision,
    head: TagHead | None = None,
    rvq: TokenRvq | None = None,
    on_step: Callable[[str], None] = lambda what: None,
) -> Artefact:
    """Add the artefact ``onnx-int8-weights`` or ``onnx-int4-weights`` to a bundle in its folder,
    proven or not at all.

    An older one is replaced. The convolutions stay float32, in their short form.

    Args:
        bundle: as loaded; the new manifest is saved.
        checkpoint: what the bundle was made from.
        music: what parity is measured on.
        precision: one of ``BITS``.
        head, rvq: what the bundle's ``tags`` and ``tokens`` are compared with.
        on_step: called after each excerpt of the parity measurement.

    Raises:
        BundleError: no fp32 ONNX artefact to follow. CheckpointError: not what the bundle was made
            from. ParityError: the numbers differ from the reference's.
    """
    require_source(bundle, checkpoint)
    source = fp32_source(bundle)
    graph = onnx_from_checkpoint(
        checkpoint.model,
        [spec.name for spec in source.outputs],
        source.level,
        "any",
        head.head if head is not None else None,
        rvq,
        WeightOnlyGraph(BITS[precision]),
        mulan_of(checkpoint),
    )
    with workspace(bundle.folder) as temporary:
        added = candidate(bundle, graph, precision, temporary)
        parity(added, checkpoint, music, lambda each: on_step(f"parity: {each.name}"), head, rvq)
        refuse_uncertified(added)
        return put(bundle, added)
