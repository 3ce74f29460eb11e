"""Both residual blocks as Winograd convolutions in plain ONNX operators, for CPU engines.

The front end is two thirds of MuQ's work. By tiles it takes 0.67 s of processor time, by direct
convolutions 1.26 s: 10 s of audio, full size, ONNX Runtime with one thread of an AMD EPYC (Zen 5).

Between the blocks everything stays in tiles, channels last (see ``tiling``): windows are cut by
one Gather of whole rows of channels, both transforms are a MatMul from the left, and the products
are one MatMul batched over the points.
"""

import numpy as np

from ...kernels.log_mel.contract import MELS
from ...kernels.winograd import Filtering, TileFiltering
from ...reference.front_end import Res2dModule
from .folding import fold_batch_norm
from .patches import patches, pointwise
from .tiling import Tiling, divided, image_columns, tiling, windows
from .writer import Graph

# Outputs along one axis of a tile. Larger tiles take fewer products, but round more: 8 is over 20
# times worse than 6. In the second block 6 along the columns would save 1.5 % of the front end's
# time, for 88 MB more of matrices.
_FIRST, _SECOND = 6, 4


def residual_blocks(graph: Graph, first: Res2dModule, second: Res2dModule, log_mel: str) -> str:
    """(batch, mels, frames) -> (batch, steps, bands * channels)."""
    with graph.scope("block_0"):
        x, tiles = _first_block(graph, first, log_mel)
    with graph.scope("block_1"):
        x, tiles = _second_block(graph, second, x, tiles)
        return image_columns(graph, x, tiles, second.conv2.out_channels)


def _first_block(graph: Graph, block: Res2dModule, log_mel: str) -> tuple[str, Tiling]:
    kernel, bias = fold_batch_norm(block.conv2, block.bn2)
    shortcut_kernel, shortcut_bias = fold_batch_norm(block.conv3, block.bn3)
    tile = TileFiltering(Filtering(_FIRST), Filtering(_FIRST))
    batch = graph.op("Shape", log_mel, start=0, end=1)
    columns = divided(graph, graph.op("Shape", log_mel, start=2, end=3), 2)
    tiles = tiling(graph, batch, MELS // 2, columns, tile)
    taps = patches(graph, log_mel, tiles, tile)
    inner = pointwise(graph, "conv1.weight", *fold_batch_norm(block.conv1, block.bn1), taps)
    inner = _input_transform(graph, tile, graph.op("Relu", inner), len(bias))
    inner = _products(graph, "conv2.weight", tile, kernel, inner)
    # A window without its rim are the tile's own positions: there the shortcut is due.
    ends = [graph.constant([end, end]) for end in (1, 1 + _FIRST)]
    own = graph.op("Slice", taps, *ends, graph.constant([0, 1]))
    outer = pointwise(graph, "conv3.weight", shortcut_kernel, shortcut_bias + bias, own)
    outer = graph.op("Reshape", outer, graph.constant([_FIRST**2, -1]))
    return graph.op("Relu", graph.op("Add", inner, outer)), tiles


def _second_block(graph: Graph, block: Res2dModule, x: str, source: Tiling) -> tuple[str, Tiling]:
    first_kernel, first_bias = fold_batch_norm(block.conv1, block.bn1)
    kernel, bias = fold_batch_norm(block.conv2, block.bn2)
    shortcut_kernel, shortcut_bias = fold_batch_norm(block.conv3, block.bn3)
    channels = len(bias)
    strides = block.conv1.stride
    strided = TileFiltering(*(Filtering(_SECOND, stride) for stride in strides))
    plain = TileFiltering(Filtering(_SECOND), Filtering(_SECOND))
    columns = divided(graph, source.columns, strides[1])
    tiles = tiling(graph, source.batch, source.rows // strides[0], columns, plain)
    # Both strided convolutions read the same transformed windows.
    x = windows(graph, _rows(graph, x, channels), source, tiles, strided)
    x = _input_transform(graph, strided, x, channels)
    inner = _products(graph, "conv1.weight", strided, first_kernel, x)
    inner = graph.op("Relu", _biased(graph, "conv1.bias", first_bias, inner, tiles))
    inner = windows(graph, _rows(graph, inner, channels), tiles, tiles, plain)
    inner = _input_transform(graph, plain, inner, channels)
    inner = _products(graph, "conv2.weight", plain, kernel, inner)
    outer = _products(graph, "conv3.weight", strided, shortcut_kernel, x)
    outer = _biased(graph, "conv3.bias", shortcut_bias + bias, outer, tiles)
    return graph.op("Relu", graph.op("Add", inner, outer)), tiles


def _input_transform(graph: Graph, tile: TileFiltering, x: str, channels: int) -> str:
    """Windows to (points, tiles, channels)."""
    matrix = graph.weight("input_transform", tile.input_transform())
    x = graph.op("MatMul", matrix, graph.op("Reshape", x, graph.constant([tile.points, -1])))
    return graph.op("Reshape", x, graph.constant([tile.points, -1, channels]))


def _products(graph: Graph, name: str, tile: TileFiltering, kernel: np.ndarray, x: str) -> str:
    """(points, tiles, channels) to (positions of a tile, tiles * channels)."""
    x = graph.op("MatMul", x, graph.weight(name, tile.transformed_kernel(kernel)))
    matrix = graph.weight("output_transform", tile.output_transform())
    return graph.op("MatMul", matrix, graph.op("Reshape", x, graph.constant([tile.points, -1])))


def _biased(graph: Graph, name: str, bias: np.ndarray, x: str, tiles: Tiling) -> str:
    """Add the bias to (positions of a tile, tiles * channels), the tile of zeros left out."""
    one = graph.constant([1])
    images = graph.op("Sub", tiles.tiles, one)
    spread = graph.op("Concat", images, one, axis=0)
    spread = graph.op("Expand", graph.weight(name, bias[None]), spread)
    zeros = graph.constant(np.zeros((1, len(bias))), np.float32)
    spread = graph.op("Concat", spread, zeros, axis=0)
    return graph.op("Add", x, graph.op("Reshape", spread, graph.constant([-1])))


def _rows(graph: Graph, x: str, channels: int) -> str:
    return graph.op("Reshape", x, graph.constant([-1, channels]))
