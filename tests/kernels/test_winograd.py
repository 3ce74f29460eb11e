import numpy as np

from muqrt.kernels import winograd

rng = np.random.default_rng(0)


def naive_convolution(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(in, 8, 8) and (out, in, 3, 3) to (out, 6, 6), without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
    return np.einsum("iyxab,oiab->oyx", windows, kernel)


def tile(image: np.ndarray, kernel: np.ndarray, dtype: type) -> np.ndarray:
    data = winograd.input_transform().astype(dtype) @ image.reshape(len(image), 64).T.astype(dtype)
    products = winograd.transformed_kernel(kernel).astype(dtype)
    mixed = np.einsum("pi,pio->po", data, products)
    return (winograd.output_transform().astype(dtype) @ mixed).T.reshape(-1, 6, 6)


def test_one_dimension_is_exact() -> None:
    A, B, G = winograd.transforms()
    data, kernel = rng.normal(size=8), rng.normal(size=3)
    expected = np.correlate(data, kernel, "valid")
    np.testing.assert_allclose(A @ ((G @ kernel) * (B @ data)), expected, atol=1e-13)


def test_a_tile_is_the_convolution() -> None:
    image, kernel = rng.normal(size=(5, 8, 8)), rng.normal(size=(7, 5, 3, 3))
    expected = naive_convolution(image, kernel)
    np.testing.assert_allclose(tile(image, kernel, np.float64), expected, atol=1e-12)


def test_rounding_stays_small_in_fp32() -> None:
    image, kernel = rng.normal(size=(512, 8, 8)), rng.normal(size=(16, 512, 3, 3))
    expected = naive_convolution(image, kernel)
    error = np.linalg.norm(tile(image, kernel, np.float32) - expected) / np.linalg.norm(expected)
    assert error < 1e-5


def test_rows_of_the_input_transform_have_unit_length() -> None:
    _, B, _ = winograd.transforms()
    np.testing.assert_allclose(np.linalg.norm(B, axis=1), 1)
