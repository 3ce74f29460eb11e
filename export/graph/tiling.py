"""Images in tiles, channels last, and how windows are cut from them, in plain ONNX operators.

A tensor of tiles is (positions within a tile, tiles, channels), flattened where convenient: each
position of each tile is one contiguous row of channels. Tiles come in the order batch, tile row,
tile column. One more tile follows, all zeros: what lies outside the image is taken from there.
"""

from dataclasses import dataclass

import numpy as np

from ...kernels.winograd import Filtering, TileFiltering
from .writer import Graph


@dataclass(frozen=True)
class Tiling:
    """A batch of images cut in tiles. Strings are values of the graph, int64 (1,)."""

    batch: str
    rows: int  # of the image
    columns: str
    height: int  # of a tile
    width: int
    tile_columns: str
    tiles: str  # in all, the one of zeros included

    @property
    def tile_rows(self) -> int:
        """They cover the image's rows."""
        return -(-self.rows // self.height)


def tiling(graph: Graph, batch: str, rows: int, columns: str, tile: TileFiltering) -> Tiling:
    """Tiles that cover images of rows x columns."""
    height, width = tile.down.outputs, tile.along.outputs
    tile_rows, tile_columns = -(-rows // height), divided(graph, columns, width)
    tiles = graph.op("Mul", graph.op("Mul", batch, graph.constant([tile_rows])), tile_columns)
    tiles = graph.op("Add", tiles, graph.constant([1]))
    return Tiling(batch, rows, columns, height, width, tile_columns, tiles)


def windows(graph: Graph, x: str, source: Tiling, target: Tiling, tile: TileFiltering) -> str:
    """Cut what the target's tiles are computed from, by a convolution with padding 1.

    Args:
        graph: where to write.
        x: tiles of the source, (rows of channels, channels).
        source: of x.
        target: of the convolution's output.
        tile: its filterings.

    Returns:
        (points, target tiles, channels)
    """
    row = window_rows(target, tile.down).reshape(-1, 1, 1, target.tile_rows, 1)
    column = window_columns(graph, target, tile.along)
    column = graph.op("Unsqueeze", column, graph.constant([1, 2]))
    image = graph.op("Reshape", counting(graph, source.batch), graph.constant([1, 1, -1, 1, 1]))
    inside = graph.constant((row >= 0) & (row < source.rows), np.bool_)
    inside = graph.op("And", inside, within(graph, column, source.columns))
    # (u, v, batch, i, j); the last tile's first row is zeros.
    zero = graph.op("Sub", source.tiles, graph.constant([1]))
    index = graph.op("Where", inside, pixels(graph, source, image, row, column), zero)
    index = graph.op("Reshape", index, graph.constant([tile.points, -1]))
    zeros = graph.op("Expand", zero, graph.constant([tile.points, 1]))
    return graph.op("Gather", x, graph.op("Concat", index, zeros, axis=1), axis=0)


def window_rows(target: Tiling, down: Filtering) -> np.ndarray:
    """Image row of each position of the windows: (window, tile rows), some outside the image."""
    first = down.stride * target.height * np.arange(target.tile_rows) - 1
    return np.add.outer(np.arange(down.window), first)


def window_columns(graph: Graph, target: Tiling, along: Filtering) -> str:
    """Image column of each position of the windows: (window, tile columns)."""
    step = graph.constant([along.stride * target.width])
    first = graph.op("Mul", counting(graph, target.tile_columns), step)
    return graph.op("Add", graph.constant(np.arange(along.window)[:, None] - 1), first)


def pixels(graph: Graph, source: Tiling, image: str, row: np.ndarray, column: str) -> str:
    """Which row of channels each pixel is, among the tiles; the shapes broadcast."""
    width = graph.constant([source.width])
    above = graph.constant(row % source.height * source.width)
    position = graph.op("Add", above, graph.op("Mod", column, width))
    tile_row = graph.op("Mul", image, graph.constant([source.tile_rows]))
    tile_row = graph.op("Add", tile_row, graph.constant(row // source.height))
    tile = graph.op("Mul", tile_row, source.tile_columns)
    tile = graph.op("Add", tile, graph.op("Div", column, width))
    return graph.op("Add", graph.op("Mul", position, source.tiles), tile)


def image_columns(graph: Graph, x: str, source: Tiling, channels: int) -> str:
    """Tiles to (batch, columns, rows * channels)."""
    image = graph.op("Reshape", counting(graph, source.batch), graph.constant([-1, 1, 1]))
    column = graph.op("Unsqueeze", counting(graph, source.columns), graph.constant([1]))
    index = pixels(graph, source, image, np.arange(source.rows), column)
    x = graph.op("Gather", graph.op("Reshape", x, graph.constant([-1, channels])), index, axis=0)
    return graph.op("Reshape", x, graph.constant([0, 0, source.rows * channels]))


def within(graph: Graph, index: str, count: str) -> str:
    """Whether 0 <= index < count."""
    above = graph.op("GreaterOrEqual", index, graph.constant([0]))
    return graph.op("And", above, graph.op("Less", index, count))


def counting(graph: Graph, count: str) -> str:
    """0, 1, ... for a count (1,)."""
    return graph.op("Range", graph.constant(0), graph.op("Squeeze", count), graph.constant(1))


def divided(graph: Graph, count: str, divisor: int) -> str:
    """A count (1,) divided and rounded up."""
    if divisor == 1:
        return count
    more = graph.op("Add", count, graph.constant([divisor - 1]))
    return graph.op("Div", more, graph.constant([divisor]))
