"""The fused transform's constants, each alone; test_log_mel.py takes them together."""

import numpy as np

from muqrt.kernels.log_mel import tables as layout
from muqrt.kernels.log_mel.contract import MELS, mel_filterbank

TABLES = layout.tables()


def part(offset: int, *shape: int) -> np.ndarray:
    return TABLES[offset : offset + np.prod(shape)].reshape(shape).astype(np.float64)


def complex_part(offset: int, *shape: int) -> np.ndarray:
    real, imaginary = part(offset, 2, *shape)
    return real + 1j * imaginary


def test_they_fill_one_tensor() -> None:
    assert (TABLES.dtype, TABLES.shape) == (np.dtype(np.float32), (layout.SIZE,))
    assert np.isfinite(TABLES).all()


def test_the_window_is_hanns_even_samples_before_the_odd_ones() -> None:
    even, odd = part(layout.WINDOW, 2, 1024)
    for n in 0, 1, 500, 1023:
        np.testing.assert_allclose(even[n], np.sin(np.pi * 2 * n / 2048) ** 2, atol=1e-7)
        np.testing.assert_allclose(odd[n], np.sin(np.pi * (2 * n + 1) / 2048) ** 2, atol=1e-7)


def test_two_stages_are_half_a_dft() -> None:
    x = np.random.default_rng(0).normal(size=1024)
    fourier = complex_part(layout.FOURIER, 32, 32)
    twiddles = complex_part(layout.TWIDDLES, 32, 32)
    spectrum = (x.reshape(32, 32).T @ fourier * twiddles).T @ fourier[:, :16]
    np.testing.assert_allclose(spectrum.T.ravel(), np.fft.fft(x)[:512], atol=1e-4)


def test_both_halves_are_the_whole_spectrum() -> None:
    x = np.random.default_rng(0).normal(size=2048)
    even, odd = (np.fft.fft(x[half::2])[:512].reshape(16, 32).T for half in (0, 1))
    even = even * complex_part(layout.ROTATIONS, 32, 16)
    odd = odd * complex_part(layout.ROTATIONS + 2 * layout.HALF_BINS, 32, 16)
    power = np.abs(np.stack([even + odd, even - odd], axis=-1)).ravel() ** 2
    bins = np.delete(np.arange(1024), 512)
    expected = np.abs(np.fft.rfft(x)) ** 2
    np.testing.assert_allclose(power[layout.place_of_bin()[bins]], expected[bins], atol=1e-2)


def test_every_bin_has_a_place_of_its_own() -> None:
    np.testing.assert_array_equal(np.sort(layout.place_of_bin()), np.arange(1024))


def test_taps_and_weights_are_the_filterbank() -> None:
    places = part(layout.PLACES, layout.TAPS, MELS).astype(int)
    lower, upper = part(layout.WEIGHTS, 2, layout.TAPS, MELS)
    at_places = np.zeros((1024, MELS + 1))
    bands = np.broadcast_to(np.arange(MELS), places.shape)
    np.add.at(at_places, (places, bands), lower)
    np.add.at(at_places, (places, bands + 1), upper)
    np.testing.assert_allclose(
        at_places[layout.place_of_bin(), :MELS], mel_filterbank()[:1024], atol=1e-7
    )
    assert not at_places[:, MELS].any()


def test_the_bins_without_a_place_are_not_heard() -> None:
    np.testing.assert_allclose(mel_filterbank()[[0, 1024]], 0, atol=1e-12)
