"""Weights as a site has them: whole numbers of few bits, which a host's gzip makes small.

A tensor of n weights becomes n 16-bit fixed-point numbers of ``BITS`` bits, first all high and then
all low bytes, and zeros up to its own size: offsets stay, and so do the graphs. The page makes
floating-point weights of them again, exactly those of ``restored``.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..runtime.bundle.certificate import Precision
from ..runtime.bundle.tagging import TAGS
from ..runtime.engines.session import WAVEFORM
from .graph_weights import external_tensors

BITS = 10
ROUNDED_PRECISION: Precision = "fp16"  # whose thresholds a rounded model has to keep
_FIXED_BITS = 16
# What a tensor below this would save is not worth its entry in the manifest.
_LEAST_BYTES = 1 << 14
# Where one weight is this many times the root mean square, too few bits are left for the others.
_LARGEST_PEAK = 10
_HALF_LEAST_EXPONENT = 14  # below 2^-14 float16 has no full precision: no step is smaller


class RoundedTensor(NamedTuple):
    """Where a rounded tensor is, and what its numbers mean.

    Attributes:
        file: of the weights.
        offset: in bytes, in that file.
        bytes: what it takes there.
        type: "float16" or "float32".
        exponent: a weight is its 16-bit number times 2^-exponent.
    """

    file: str
    offset: int
    bytes: int
    type: str
    exponent: int

    @property
    def facts(self) -> dict[str, int | str]:
        """What a site's manifest says of it, beside the file."""
        return {name: value for name, value in self._asdict().items() if name != "file"}


def round_weights(
    front_end: Path, encoder: Path, files: dict[str, bytes]
) -> tuple[dict[str, bytes], list[RoundedTensor]]:
    """Round the large matrices of the encoder.

    The front end keeps every bit: Winograd's transforms multiply what is lost.

    Args:
        front_end, encoder: the graphs.
        files: the whole files of weights that they refer to, by name.

    Returns:
        The files with the rounded tensors' bytes in place, and those tensors.
    """
    kept = {(each.file, each.offset) for each in external_tensors(front_end)}
    found = {name: bytearray(content) for name, content in files.items()}
    rounded = []
    for each in external_tensors(encoder):
        if (each.file, each.offset) in kept or each.length < _LEAST_BYTES or each.type is None:
            continue
        place = slice(each.offset, each.offset + each.length)
        weights = np.frombuffer(files[each.file][place], each.type)
        exponent = _exponent(weights.astype(np.float64))
        if exponent is None:
            continue
        found[each.file][place] = _planes(weights, exponent)
        rounded.append(RoundedTensor(each.file, each.offset, each.length, each.type, exponent))
    return {name: bytes(content) for name, content in found.items()}, rounded


def restored(files: dict[str, bytes], rounded: Iterable[RoundedTensor]) -> dict[str, bytes]:
    """The files with floating-point weights in every place, as the page restores them."""
    found = {name: bytearray(content) for name, content in files.items()}
    for each in rounded:
        dtype = np.dtype(each.type)
        count = each.bytes // dtype.itemsize
        planes = np.frombuffer(files[each.file], np.uint8, 2 * count, each.offset)
        fixed = np.ascontiguousarray(planes.reshape(2, count).T).view(">i2").ravel()
        weights = (fixed * 2.0**-each.exponent).astype(dtype)
        found[each.file][each.offset : each.offset + each.bytes] = weights.tobytes()
    return {name: bytes(content) for name, content in found.items()}


def tags_of(
    front_end: Path, encoder: Path, files: dict[str, bytes], waveform: np.ndarray
) -> np.ndarray:
    """The tags of samples (samples,), float32, by two graphs with these files of weights."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_external_initializers_from_files_in_memory(
        list(files), list(files.values()), [len(each) for each in files.values()]
    )
    found: np.ndarray = waveform[None]
    for graph, taken, given in ((front_end, WAVEFORM, "frames"), (encoder, "frames", TAGS)):
        session = ort.InferenceSession(
            graph.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run([given], {taken: found})
    return found[0]


def _exponent(weights: np.ndarray) -> int | None:
    """How the largest weight takes all bits; None where rounding would lose too much."""
    largest = float(np.abs(weights).max())
    if not 0 < largest <= _LARGEST_PEAK * math.sqrt(np.square(weights).mean()):
        return None
    _, power = math.frexp(largest)
    exponent = _FIXED_BITS - 1 - power
    return exponent if exponent - (_FIXED_BITS - BITS) <= _HALF_LEAST_EXPONENT else None


def _planes(weights: np.ndarray, exponent: int) -> bytes:
    """16-bit numbers of which the last bits are zero, and then zeros."""
    step = 1 << (_FIXED_BITS - BITS)
    most = (1 << (BITS - 1)) - 1
    steps = np.rint(weights.astype(np.float64) * (2.0**exponent / step)).clip(-most, most)
    fixed = (steps * step).astype(">i2")
    planes = fixed.view(np.uint8).reshape(-1, 2).T
    return planes.tobytes() + bytes(weights.nbytes - fixed.nbytes)
