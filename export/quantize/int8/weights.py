"""Weights as signed bytes, symmetric, with a scale for each output channel."""

import numpy as np

LARGEST = 127
# x86 processors without VNNI add the products of two neighbouring bytes in 16 bits, and saturate:
# 255 * 127 + 255 * 127 does not fit, 255 * 128 does.
LARGEST_PAIR = 128


def quantized(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(out, in, ...) real numbers to int8 of that shape and scales (out,) float32.

    ``int8 * scale`` is the nearest to the weights that a channel's largest leaves, alone and as
    sums of neighbouring inputs of one sign. With any unsigned bytes the products are then exact on
    every processor. -128 is not used, so that a sign flip is exact.
    """
    rows = np.moveaxis(weights, 1, -1).reshape(len(weights), -1)  # as they lie in memory
    even, odd = rows[:, ::2], np.pad(rows[:, 1::2], ((0, 0), (0, rows.shape[1] % 2)))
    highs = (np.maximum(even, 0) + np.maximum(odd, 0)).max(axis=1)
    lows = (np.minimum(even, 0) + np.minimum(odd, 0)).min(axis=1)
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    scales = np.maximum(largest / LARGEST, np.maximum(highs, -lows) / LARGEST_PAIR)
    scales = np.maximum(scales, 1e-12)
    codes = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
    return codes, scales.astype(np.float32)
