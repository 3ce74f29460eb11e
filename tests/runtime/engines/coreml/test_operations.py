"""Every operation that is interpreted, against PyTorch's."""

from typing import Any

import numpy as np
import pytest

from muqrt.runtime.engines.coreml.operations import OPERATIONS

torch = pytest.importorskip("torch")
F = torch.nn.functional


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


X, Y, POSITIVE = random(2, 3, 8), random(2, 3, 8) + 0.5, np.abs(random(2, 3, 8)) + 0.1
IMAGE, KERNEL, BIAS = random(2, 4, 9, 12), random(6, 2, 3, 5), random(6)
WAVE, TAPS = random(2, 6, 40), random(6, 1, 7)
WEIGHT = random(5, 8)
MASK = np.array([False, True, False])


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def t(x: np.ndarray) -> Any:
    return torch.from_numpy(x)


WINDOW = {"dilations": ints(1, 1), "groups": np.int32(2), "weight": KERNEL, "bias": BIAS}
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "add": ({"x": X, "y": Y[:, :1]}, t(X) + t(Y[:, :1])),
    "cast": ({"x": X, "dtype": "fp16"}, t(X).half()),
    "clip": ({"x": X, "alpha": -0.5, "beta": np.inf}, t(X).clamp(min=-0.5)),
    "concat": (
        {"values": [X, Y], "axis": np.int32(-1), "interleave": False},
        torch.cat([t(X), t(Y)], -1),
    ),
    "conv, custom": (
        {
            "x": IMAGE,
            **WINDOW,
            "strides": ints(2, 1),
            "pad_type": "custom",
            "pad": ints(1, 1, 2, 2),
        },
        F.conv2d(t(IMAGE), t(KERNEL), t(BIAS), (2, 1), (1, 2), groups=2),
    ),
    "conv, valid": (
        {"x": IMAGE, **WINDOW, "strides": ints(1, 3), "pad_type": "valid", "pad": ints(0, 0, 0, 0)},
        F.conv2d(t(IMAGE), t(KERNEL), t(BIAS), (1, 3), groups=2),
    ),
    "conv, depthwise": (
        {
            **{"x": WAVE, "weight": TAPS, "strides": ints(1), "dilations": ints(1)},
            **{"pad_type": "custom", "pad": ints(3, 3), "groups": np.int32(6)},
        },
        F.conv1d(t(WAVE), t(TAPS), padding=3, groups=6),
    ),
    "expand_dims": ({"x": X, "axes": ints(1)}, t(X).unsqueeze(1)),
    "layer_norm": (
        {"x": X, "axes": ints(-1), "gamma": WEIGHT[0], "beta": WEIGHT[1], "epsilon": 1e-5},
        F.layer_norm(t(X), (8,), t(WEIGHT[0]), t(WEIGHT[1])),
    ),
    "linear": (
        {"x": X, "weight": WEIGHT, "bias": WEIGHT[:, 0]},
        F.linear(t(X), t(WEIGHT), t(WEIGHT[:, 0])),
    ),
    "linear, no bias": ({"x": X, "weight": WEIGHT}, F.linear(t(X), t(WEIGHT))),
    "log": ({"x": POSITIVE, "epsilon": 0.0}, t(POSITIVE).log()),
    "matmul": ({"x": X, "y": Y, "transpose_x": False, "transpose_y": True}, t(X) @ t(Y).mT),
    "matmul, x transposed": (
        {"x": X, "y": Y, "transpose_x": True, "transpose_y": False},
        t(X).mT @ t(Y),
    ),
    "mul": ({"x": X, "y": np.float32(0.5)}, t(X) * 0.5),
    "pad": (
        {"x": X, "pad": ints(0, 0, 3, 2), "mode": "reflect", "constant_val": 0.0},
        F.pad(t(X), (3, 2), mode="reflect"),
    ),
    "reduce_mean": ({"x": X, "axes": ints(1), "keep_dims": np.True_}, t(X).mean(1, keepdim=True)),
    "relu": ({"x": X}, t(X).relu()),
    "reshape": ({"x": X, "shape": ints(3, 16)}, t(X).reshape(3, 16)),
    "sigmoid": ({"x": 50 * X}, (50 * t(X)).sigmoid()),
    "silu": ({"x": X}, F.silu(t(X))),
    "slice_by_index": (
        {
            "x": X,
            "begin": ints(0, 1, 2),
            "end": ints(1, 1, -1),
            "begin_mask": MASK,
            "end_mask": MASK,
        },
        t(X)[:1, :, 2:-1],
    ),
    "slice_by_index, no masks": (
        {"x": X, "begin": ints(0, 1, 2), "end": ints(1, 3, 8)},
        t(X)[:1, 1:, 2:],
    ),
    "softmax": ({"x": 50 * X, "axis": np.int32(-1)}, (50 * t(X)).softmax(-1)),
    "split": ({"x": X, "split_sizes": ints(3, 5), "axis": np.int32(-1)}, t(X).split([3, 5], -1)),
    "split, evenly": (
        {"x": X, "num_splits": np.int32(2), "axis": np.int32(2)},
        t(X).split(4, -1),
    ),
    "sqrt": ({"x": POSITIVE}, t(POSITIVE).sqrt()),
    "square": ({"x": X}, t(X).square()),
    "stack": ({"values": [X, Y], "axis": np.int32(1)}, torch.stack([t(X), t(Y)], 1)),
    "sub": ({"x": X, "y": Y}, t(X) - t(Y)),
    "transpose": ({"x": X, "perm": ints(0, -1, 1)}, t(X).permute(0, 2, 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_pytorchs(name: str) -> None:
    inputs, expected = CASES[name]
    with np.errstate(over="ignore"):
        found = OPERATIONS[name.partition(",")[0]](**inputs)
    if not isinstance(expected, tuple):
        found, expected = [found], [expected]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.numpy().dtype
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6, strict=True)


def test_each_has_a_case() -> None:
    assert {name.partition(",")[0] for name in CASES} == OPERATIONS.keys()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("conv, valid", {"pad_type": "same"}),
        ("conv, valid", {"dilations": ints(1, 2)}),
        ("pad", {"mode": "replicate"}),
        ("concat", {"interleave": True}),
    ],
)
def test_what_is_not_interpreted_is_refused(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"same|dilations|replicate|interleaved"):
        OPERATIONS[name.partition(",")[0]](**{**CASES[name][0], **change})
