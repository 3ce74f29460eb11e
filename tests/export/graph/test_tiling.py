import numpy as np
import onnxruntime as ort
import pytest

from muqrt.export.graph.tiling import image_columns, tiling, windows
from muqrt.export.graph.writer import Graph
from muqrt.kernels.winograd import Filtering, TileFiltering
from muqrt.runtime.bundle.record import TensorSpec

ROWS, CHANNELS = 13, 2
COARSE = TileFiltering(Filtering(3), Filtering(5))
FINE = TileFiltering(Filtering(4, 2), Filtering(2))


def tiled(images: np.ndarray, tile: TileFiltering) -> np.ndarray:
    """(batch, rows, columns, channels) to (positions, tiles, channels), the tile of zeros last.

    What the tiles have beyond the image is not a number: nothing may read it.
    """
    height, width = tile.down.outputs, tile.along.outputs
    batch, rows, columns, channels = images.shape
    beyond = [(0, 0), (0, -rows % height), (0, -columns % width), (0, 0)]
    cut = np.pad(images, beyond, constant_values=np.nan)
    cut = cut.reshape(batch, cut.shape[1] // height, height, -1, width, channels)
    cut = cut.transpose(2, 4, 0, 1, 3, 5).reshape(height * width, -1, channels)
    return np.pad(cut, [(0, 0), (0, 1), (0, 0)])


def run(images: np.ndarray, target: TileFiltering | None) -> np.ndarray:
    """Windows of the target's tiles; the image's columns when None."""
    graph = Graph()
    source = tiling(graph, "batch", ROWS, "columns", COARSE)
    x = graph.op("Reshape", "tiles", graph.constant([-1, CHANNELS]))
    if target is None:
        graph.rename(image_columns(graph, x, source, CHANNELS), "cut")
    else:
        rows = -(-ROWS // target.down.stride)
        smaller = tiling(graph, "batch", rows, "columns", target)
        graph.rename(windows(graph, x, source, smaller, target), "cut")
    tiles = TensorSpec(name="tiles", dtype="float32", shape=[15, "tiles", CHANNELS])
    counts = [TensorSpec(name=name, dtype="int64", shape=[1]) for name in ("batch", "columns")]
    output = TensorSpec(name="cut", dtype="float32", shape=["a", "b", "c"])
    model = graph.model([tiles, *counts], [output]).SerializeToString()
    running = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch, _, columns, _ = images.shape
    feeds = {"tiles": tiled(images, COARSE), "batch": [batch], "columns": [columns]}
    (cut,) = running.run(None, feeds)
    return np.asarray(cut)


def noise(batch: int, columns: int) -> np.ndarray:
    size = (batch, ROWS, columns, CHANNELS)
    return np.random.default_rng(columns).normal(size=size).astype(np.float32)


@pytest.mark.parametrize(("batch", "columns"), [(1, 1), (2, 3), (1, 10), (3, 11)])
def test_windows_are_slices_of_the_padded_image(batch: int, columns: int) -> None:
    images = noise(batch, columns)
    cut = run(images, FINE)
    assert cut.shape == (FINE.points, batch * 2 * -(-columns // 2) + 1, CHANNELS)
    assert not cut[:, -1].any()
    padded = np.pad(images, [(0, 0), (1, 20), (1, 20), (0, 0)])
    tile = 0
    for image in padded:
        for top in range(0, ROWS, 8):
            for left in range(0, columns, 2):
                expected = image[top : top + FINE.down.window, left : left + FINE.along.window]
                np.testing.assert_array_equal(cut[:, tile], expected.reshape(-1, CHANNELS))
                tile += 1


@pytest.mark.parametrize(("batch", "columns"), [(1, 1), (2, 3), (1, 10), (3, 11)])
def test_the_image_comes_back_by_columns(batch: int, columns: int) -> None:
    images = noise(batch, columns)
    expected = images.swapaxes(1, 2).reshape(batch, columns, -1)
    np.testing.assert_array_equal(run(images, None), expected)
