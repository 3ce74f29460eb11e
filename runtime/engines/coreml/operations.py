"""The operations of an ML program in numpy, by their names and parameters in Core ML's MIL.

Each takes and gives arrays; float16 has become float32 before, and is rounded to again afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
_CASTS = {"fp16": np.float16, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}


def conv(
    x: Array,
    weight: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    dilations: Array,
    groups: int,
    bias: Array | None = None,
) -> Array:
    """A convolution over any number of axes: (batch, channels, ...) by (outputs, channels /
    groups, ...)."""
    around = np.zeros(2 * len(strides), int) if pad_type == "valid" else pad
    if pad_type not in ("valid", "custom") or np.any(dilations != 1):
        raise ValueError(f"a convolution with {pad_type} padding and dilations {dilations}")
    x = np.pad(x, [(0, 0), (0, 0), *around.reshape(-1, 2)])
    kernel, axes = weight.shape[2:], tuple(range(2, x.ndim))
    taken = (slice(None), slice(None), *(slice(None, None, step) for step in strides))
    windows = sliding_window_view(x, kernel, axes)[taken]
    batch, places = len(x), windows.shape[2 : x.ndim]
    # (batch, groups, places, what one output reads)
    read = windows.reshape(batch, groups, -1, *places, *kernel)
    read = np.moveaxis(read, 2, 2 + len(places)).reshape(batch, groups, int(np.prod(places)), -1)
    by_group = weight.reshape(groups, len(weight) // groups, -1)
    found = by_group @ read.swapaxes(-1, -2)
    found = found.reshape(batch, len(weight), *places)
    return found if bias is None else found + bias.reshape(-1, *[1] * len(kernel))


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(..., inputs) by (outputs, inputs)."""
    return x @ weight.T + (0 if bias is None else bias)


def matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    """A product of the last two axes."""
    left, right = x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y
    return left @ right


def layer_norm(x: Array, axes: Array, gamma: Array, beta: Array, epsilon: np.float32) -> Array:
    """Mean 0 and deviation 1 over the last axes."""
    over = tuple(axes)
    centred = x - x.mean(over, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(over, keepdims=True) + epsilon) * gamma + beta


def softmax(x: Array, axis: int) -> Array:
    """Exponentials over their sum."""
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def split(
    x: Array, axis: int, split_sizes: Array | None = None, num_splits: int | None = None
) -> list[Array]:
    """Cut along an axis into pieces of these sizes, or into so many of one size."""
    where: Any = num_splits if split_sizes is None else np.cumsum(split_sizes)[:-1]
    return np.split(x, where, axis)


def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
) -> Array:
    """A part of each axis; where a mask is set, from its start or to its end."""
    unset = np.zeros(x.ndim, bool)
    from_starts = unset if begin_mask is None else begin_mask
    to_ends = unset if end_mask is None else end_mask
    return x[
        tuple(
            slice(None if from_start else first, None if to_end else last)
            for first, last, from_start, to_end in zip(
                begin, end, from_starts, to_ends, strict=True
            )
        )
    ]


def pad(x: Array, pad: Array, mode: str, constant_val: float) -> Array:
    """Pad the last axes, as many as there are pairs, by reflection."""
    if mode != "reflect":
        raise ValueError(f"padding {mode}")
    pairs = pad.reshape(-1, 2)
    return np.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + [*pairs], "reflect")


def concat(values: Sequence[Array], axis: int, interleave: bool) -> Array:
    """Join along an axis."""
    if interleave:
        raise ValueError("interleaved arrays")
    return np.concatenate(values, axis)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x.astype(_CASTS[dtype]),
    "clip": lambda x, alpha, beta: np.clip(x, alpha, beta),
    "concat": concat,
    "conv": conv,
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "layer_norm": layer_norm,
    "linear": linear,
    "log": lambda x, epsilon: np.log(x + epsilon),
    "matmul": matmul,
    "mul": lambda x, y: x * y,
    "pad": pad,
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(axes), keepdims=bool(keep_dims)),
    "relu": lambda x: np.maximum(x, 0),
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "slice_by_index": slice_by_index,
    "softmax": softmax,
    "split": split,
    "sqrt": lambda x: np.sqrt(x),
    "square": lambda x: x * x,
    "stack": lambda values, axis: np.stack(values, axis),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: x.transpose(perm),
}
