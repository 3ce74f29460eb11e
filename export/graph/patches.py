"""The inputs of the first block's strided convolutions, which have one input channel.

They are cheap enough to be computed for every position of the second convolution's overlapping
windows directly, which saves cutting those out.
"""

import numpy as np
from onnx import TensorProto

from ...kernels.log_mel.contract import MELS
from ...kernels.winograd import TAPS, TileFiltering
from .tiling import Tiling, window_columns, window_rows, within
from .writer import Graph

_STRIDE = 2


def pointwise(graph: Graph, name: str, kernel: np.ndarray, bias: np.ndarray, patches: str) -> str:
    """A convolution of one input channel: (..., 10) patches to (positions, channels)."""
    matrix = np.vstack([kernel.reshape(len(bias), -1).T, bias])
    flat = graph.op("Reshape", patches, graph.constant([-1, len(matrix)]))
    return graph.op("MatMul", flat, graph.weight(name, matrix))


def patches(graph: Graph, log_mel: str, target: Tiling, tile: TileFiltering) -> str:
    """Cut, from (batch, mels, frames), the taps at every position of every window.

    Returns:
        (window rows, window columns, tiles, 10): nine taps and a one, all zero where the position
        is outside the image, so that the convolution, bias included, is zero there, as padding is.
    """
    size = [tile.down.window, tile.along.window]
    frames = graph.op("Shape", log_mel, start=2, end=3)
    # A row and a column of zeros, for whatever is outside.
    padded = graph.op("Pad", log_mel, graph.constant([0, 0, 0, 0, 1, 1]))
    row_index, row_inside = _row_taps(target, tile)
    column_index, column_inside = _column_taps(graph, frames, target, tile)
    taps = graph.op("Gather", padded, graph.constant(row_index), axis=1)
    taps = graph.op("Gather", taps, column_index, axis=4)
    # (batch, u, i, ky, v, j, kx) -> (u, v, batch, i, j, ky, kx)
    taps = graph.op("Transpose", taps, perm=[1, 4, 0, 2, 5, 3, 6])
    taps = graph.op("Reshape", taps, graph.constant([*size, -1, TAPS**2]))
    height = graph.constant(row_inside.reshape(-1, 1, 1, target.tile_rows, 1), np.float32)
    inside = graph.op("Mul", height, graph.op("Unsqueeze", column_inside, graph.constant([1, 2])))
    one = graph.constant([1])
    inside = graph.op(
        "Expand", inside, graph.op("Concat", one, one, target.batch, one, one, axis=0)
    )
    inside = graph.op("Reshape", inside, graph.constant([*size, -1, 1]))
    taps = graph.op("Concat", taps, inside, axis=-1)
    # The tile of zeros.
    return graph.op("Pad", taps, graph.constant([0, 0, 0, 0, 0, 0, 1, 0]))


def _row_taps(target: Tiling, tile: TileFiltering) -> tuple[np.ndarray, np.ndarray]:
    """Mel band of each vertical tap (u, i, ky), and whether the position (u, i) is inside."""
    row = window_rows(target, tile.down)
    inside = (row >= 0) & (row < target.rows)
    band = _STRIDE * row[..., None] + np.arange(TAPS) - 1
    usable = inside[..., None] & (band >= 0) & (band < MELS)
    return np.where(usable, band, MELS), inside


def _column_taps(graph: Graph, frames: str, target: Tiling, tile: TileFiltering) -> tuple[str, str]:
    """Mel frame of each horizontal tap (v, j, kx), and 1.0 where the position (v, j) is inside."""
    column = window_columns(graph, target, tile.along)
    inside = within(graph, column, target.columns)
    middle = graph.op("Mul", column, graph.constant([_STRIDE]))
    middle = graph.op("Unsqueeze", middle, graph.constant([2]))
    frame = graph.op("Add", middle, graph.constant(np.arange(TAPS) - 1))
    usable = graph.op("Unsqueeze", inside, graph.constant([2]))
    usable = graph.op("And", usable, within(graph, frame, frames))
    return graph.op("Where", usable, frame, frames), graph.op("Cast", inside, to=TensorProto.FLOAT)
