"""The first residual block by Winograd tiles, in plain ONNX operators.

Its second convolution is over a third of MuQ's work, and no CPU engine at hand uses Winograd for
it: done so, the whole of MuQ takes 0.87 s instead of 1.09 s (10 s of audio, two threads).

All tensors here are tile by tile and channels last: (u, v) within the tile, then batch, tile row
i, tile column j. The first convolution has one input channel, so it is cheap enough to be computed
for every position of the overlapping 8x8 tiles directly, which saves cutting them out.
"""

import numpy as np
from onnx import TensorProto

from ..kernels import winograd
from ..kernels.log_mel import MELS
from ..reference.front_end import Res2dModule
from .folding import fold_batch_norm
from .graph import Graph

_TILE, _STEP = winograd.POINTS, winograd.OUTPUTS
_ROWS = MELS // 2  # of the block's output: its first convolution halves both axes
_TILE_ROWS = -(-_ROWS // _STEP)


def first_block(graph: Graph, block: Res2dModule, log_mel: str) -> str:
    """(batch, mels, frames) -> (batch, channels, mels / 2, frames / 2 rounded up)."""
    kernel, bias = fold_batch_norm(block.conv2, block.bn2)
    first = fold_batch_norm(block.conv1, block.bn1)
    shortcut_kernel, shortcut_bias = fold_batch_norm(block.conv3, block.bn3)
    patches, columns = _patches(graph, log_mel)
    x = graph.op("Relu", _pointwise(graph, "conv1.weight", _taps(*first), patches))
    x = _transform(graph, "input_transform", winograd.input_transform(), x)
    x = graph.op("Reshape", x, graph.constant([_TILE**2, -1, len(bias)]))
    x = graph.op("MatMul", x, graph.weight("conv2.weight", winograd.transformed_kernel(kernel)))
    x = _transform(graph, "output_transform", winograd.output_transform(), x)
    # The middle 6x6 of a tile's positions are its outputs: there the shortcut is due.
    ends = [graph.constant([value, value]) for value in (1, 1 + _STEP)]
    middle = graph.op("Slice", patches, *ends, graph.constant([0, 1]))
    taps = _taps(shortcut_kernel, shortcut_bias + bias)
    shortcut = _pointwise(graph, "conv3.weight", taps, middle)
    shortcut = graph.op("Reshape", shortcut, graph.constant([_STEP**2, -1]))
    x = graph.op("Relu", graph.op("Add", x, shortcut))
    return _untiled(graph, x, log_mel, columns, len(bias))


def _pointwise(graph: Graph, name: str, taps: np.ndarray, patches: str) -> str:
    """(..., 10) patches to (positions, channels)."""
    flat = graph.op("Reshape", patches, graph.constant([-1, len(taps)]))
    return graph.op("MatMul", flat, graph.weight(name, taps))


def _transform(graph: Graph, name: str, matrix: np.ndarray, x: str) -> str:
    """One of the tile transforms: (positions of a tile, whatever is alike in all tiles)."""
    flat = graph.op("Reshape", x, graph.constant([_TILE**2, -1]))
    return graph.op("MatMul", graph.weight(name, matrix), flat)


def _taps(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A kernel of one input channel and its bias as one matrix: (9 taps and a one, channels)."""
    return np.vstack([kernel.reshape(len(bias), -1).T, bias])


def _patches(graph: Graph, log_mel: str) -> tuple[str, str]:
    """Taps of the block's strided convolutions at every position of every tile.

    Returns:
        (8, 8, tiles, 10): nine taps and a one, all zero where the position is outside the image,
        so that the convolution, bias included, is zero there, as padding is; and the number of
        columns of the image, (1,) int64.
    """
    frames = graph.op("Shape", log_mel, start=2, end=3)
    one, two, step = graph.constant([1]), graph.constant([2]), graph.constant([_STEP])
    columns = graph.op("Div", graph.op("Add", frames, one), two)
    tile_columns = graph.op("Div", graph.op("Add", columns, graph.constant([_STEP - 1])), step)
    # A row and a column of zeros, for whatever is outside.
    padded = graph.op("Pad", log_mel, graph.constant([0, 0, 0, 0, 1, 1]))
    row_index, row_inside = _row_taps()
    column_index, column_inside = _column_taps(graph, frames, columns, tile_columns)
    taps = graph.op("Gather", padded, graph.constant(row_index), axis=1)
    taps = graph.op("Gather", taps, column_index, axis=4)
    # (batch, u, i, ky, v, j, kx) -> (u, v, batch, i, j, ky, kx)
    taps = graph.op("Transpose", taps, perm=[1, 4, 0, 2, 5, 3, 6])
    taps = graph.op("Reshape", taps, graph.constant([_TILE, _TILE, -1, 9]))
    height = row_inside.reshape(_TILE, 1, 1, _TILE_ROWS, 1)
    width = graph.op("Unsqueeze", column_inside, graph.constant([0, 2, 3]))
    inside = graph.op("Mul", graph.constant(height, np.float32), width)
    batch = graph.op("Shape", log_mel, start=0, end=1)
    spread = graph.op("Concat", one, one, batch, one, one, axis=0)
    inside = graph.op("Expand", inside, spread)
    inside = graph.op("Reshape", inside, graph.constant([_TILE, _TILE, -1, 1]))
    return graph.op("Concat", taps, inside, axis=-1), columns


def _row_taps() -> tuple[np.ndarray, np.ndarray]:
    """Mel band of each vertical tap (u, i, ky), and whether the position (u, i) is inside."""
    row = np.arange(_TILE)[:, None] - 1 + _STEP * np.arange(_TILE_ROWS)
    inside = (row >= 0) & (row < _ROWS)
    band = 2 * row[..., None] + np.arange(-1, 2)
    usable = inside[..., None] & (band >= 0) & (band < MELS)
    return np.where(usable, band, MELS), inside


def _column_taps(graph: Graph, frames: str, columns: str, tile_columns: str) -> tuple[str, str]:
    """Mel frame of each horizontal tap (v, j, kx), and 1.0 where the position (v, j) is inside."""
    zero = graph.constant([0])
    tiles = graph.op(
        "Range", graph.constant(0), graph.op("Squeeze", tile_columns), graph.constant(1)
    )
    within = graph.constant(np.arange(_TILE)[:, None] - 1)
    column = graph.op("Add", within, graph.op("Mul", tiles, graph.constant([_STEP])))
    inside = _between(graph, column, zero, columns)
    doubled = graph.op(
        "Unsqueeze", graph.op("Mul", column, graph.constant([2])), graph.constant([2])
    )
    frame = graph.op("Add", doubled, graph.constant(np.arange(-1, 2)))
    usable = graph.op("Unsqueeze", inside, graph.constant([2]))
    usable = graph.op("And", usable, _between(graph, frame, zero, frames))
    return graph.op("Where", usable, frame, frames), graph.op("Cast", inside, to=TensorProto.FLOAT)


def _between(graph: Graph, x: str, least: str, limit: str) -> str:
    return graph.op("And", graph.op("GreaterOrEqual", x, least), graph.op("Less", x, limit))


def _untiled(graph: Graph, x: str, log_mel: str, columns: str, channels: int) -> str:
    """(36, tiles * channels) -> the image (batch, channels, rows, columns)."""
    batch = graph.op("Shape", log_mel, start=0, end=1)
    head, tail = graph.constant([_STEP, _STEP]), graph.constant([_TILE_ROWS, -1, channels])
    x = graph.op("Reshape", x, graph.op("Concat", head, batch, tail, axis=0))
    x = graph.op("Transpose", x, perm=[2, 3, 0, 4, 1, 5])
    x = graph.op("Reshape", x, graph.constant([0, _TILE_ROWS * _STEP, -1, channels]))
    ends = graph.op("Concat", graph.constant([_ROWS]), columns, axis=0)
    x = graph.op("Slice", x, graph.constant([0, 0]), ends, graph.constant([1, 2]))
    return graph.op("Transpose", x, perm=[0, 3, 1, 2])
