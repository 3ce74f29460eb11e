import numpy as np
import pytest

from muqrt.kernels.winograd import Filtering, TileFiltering

rng = np.random.default_rng(0)

FILTERINGS = [Filtering(outputs, stride) for stride in (1, 2) for outputs in (2, 3, 4, 6)]
TILES = [
    TileFiltering(Filtering(6), Filtering(6)),
    TileFiltering(Filtering(4), Filtering(4)),
    TileFiltering(Filtering(4, 2), Filtering(4, 2)),
    TileFiltering(Filtering(4, 2), Filtering(3)),
]


def naive_convolution(image: np.ndarray, kernel: np.ndarray, tile: TileFiltering) -> np.ndarray:
    """(in, rows, columns) and (out, in, 3, 3) to (out, rows, columns), without padding."""
    views = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    views = views[:, :: tile.down.stride, :: tile.along.stride]
    return np.einsum("iyxab,oiab->oyx", views, kernel)


def filtered(image: np.ndarray, kernel: np.ndarray, tile: TileFiltering, dtype: type) -> np.ndarray:
    window = image.reshape(len(image), -1).T.astype(dtype)
    data = tile.input_transform().astype(dtype) @ window
    mixed = np.einsum("pi,pio->po", data, tile.transformed_kernel(kernel).astype(dtype))
    outputs = (tile.output_transform().astype(dtype) @ mixed).T
    return outputs.reshape(-1, tile.down.outputs, tile.along.outputs)


def window(channels: int, tile: TileFiltering) -> np.ndarray:
    return rng.normal(size=(channels, tile.down.window, tile.along.window))


@pytest.mark.parametrize("filtering", FILTERINGS, ids=str)
def test_one_axis_is_exact(filtering: Filtering) -> None:
    A, B, G = filtering.matrices()
    data, kernel = rng.normal(size=filtering.window), rng.normal(size=3)
    expected = np.correlate(data, kernel, "valid")[:: filtering.stride]
    assert len(expected) == filtering.outputs
    np.testing.assert_allclose(A @ ((G @ kernel) * (B @ data)), expected, atol=1e-12)


@pytest.mark.parametrize("filtering", FILTERINGS, ids=str)
def test_rows_of_the_input_transform_have_unit_length(filtering: Filtering) -> None:
    _, B, _ = filtering.matrices()
    np.testing.assert_allclose(np.linalg.norm(B, axis=1), 1)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_a_tile_is_the_convolution(tile: TileFiltering) -> None:
    image, kernel = window(5, tile), rng.normal(size=(7, 5, 3, 3))
    expected = naive_convolution(image, kernel, tile)
    np.testing.assert_allclose(filtered(image, kernel, tile, np.float64), expected, atol=1e-11)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_rounding_stays_small_in_fp32(tile: TileFiltering) -> None:
    image, kernel = window(512, tile), rng.normal(size=(16, 512, 3, 3))
    expected = naive_convolution(image, kernel, tile)
    ours = filtered(image, kernel, tile, np.float32)
    assert np.linalg.norm(ours - expected) / np.linalg.norm(expected) < 1e-5
