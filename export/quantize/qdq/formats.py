"""The two formats of 8 bits that GPU engines multiply in, both symmetric about zero."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from ....runtime.bundle.certificate import Precision
from ..int8.calibration import Range
from ..int8.sites import LINEAR, LOG_MEL, in_front_end

# What the graph leaves in float16 beside bytes: the log-mel, and what a residual block adds up.
_AS_FINE_AS_FLOAT16 = 2**12
_SMALLEST_SCALE = 2.0**-24  # of float16


@dataclass(frozen=True)
class Format:
    """A format of 8 bits.

    Attributes:
        name: the precision's.
        element: its number in ONNX.
        largest: its largest number in use.
        convolutions: whether convolutions are computed in it.
        by_channel: whether every output channel of the weights has a scale of its own.
    """

    name: Literal["int8", "fp8"]
    element: int
    largest: float
    convolutions: bool
    by_channel: bool

    def encoded(self, name: str, codes: np.ndarray) -> TensorProto:
        """Numbers of the format's size as a tensor of it, rounded to the nearest, ties to even."""
        clipped = np.asarray(np.clip(codes, -self.largest, self.largest), np.float32)
        if self.element == TensorProto.INT8:
            stored: np.ndarray = np.rint(clipped).astype(np.int8)
        else:
            stored = _e4m3(torch.from_numpy(clipped)).view(torch.uint8).numpy()
        return TensorProto(
            name=name, data_type=self.element, dims=stored.shape, raw_data=stored.tobytes()
        )

    def scales(self, weights: np.ndarray, axis: int) -> np.ndarray:
        """Return float32 scales of weights: one for each output channel on ``axis``, or one ()
        for all."""
        others = tuple(each for each in range(weights.ndim) if each != axis or not self.by_channel)
        return scale_of(np.abs(weights).max(axis=others), self)

    def ranges(self, found: Mapping[str, Range]) -> dict[str, Range]:
        """Convert ranges calibrated for unsigned bytes to symmetric ones in this format."""
        return {name: self._range(name, each) for name, each in found.items()}

    def products(self, found: Mapping[str, Range]) -> dict[str, Range]:
        """Select the ranges that a product in this format reads."""
        return {name: each for name, each in found.items() if not self._stays(name)}

    def _stays(self, name: str) -> bool:
        """Whether an activation is left in 16 or 32 bits: the log-mel, whose dynamic is too wide,
        sums, and what a convolution reads that is not computed in this format."""
        is_convolution = in_front_end(name) and name != LINEAR
        is_sum = name.endswith(("/inner", "/outer"))
        return name == LOG_MEL or is_sum or (is_convolution and not self.convolutions)

    def _range(self, name: str, found: Range) -> Range:
        largest = max(-found.low, found.high)
        if self._stays(name):
            return Range(-largest, largest, found.channels, 2 * _AS_FINE_AS_FLOAT16)
        if self.element == TensorProto.INT8:
            return Range(-largest, largest, found.channels, 2 * int(self.largest))
        return Float8Range(-largest, largest, found.channels, 2 * int(self.largest))


def scale_of(largest: np.ndarray, form: Format) -> np.ndarray:
    """Return the divisor of magnitudes up to the largest: float32 numbers that float16 has too.

    A rounding and what undoes it may be in different types; they have the same scale so.
    """
    exact = np.maximum(np.asarray(largest, np.float64) / form.largest, _SMALLEST_SCALE)
    scale = exact.astype(np.float16)
    up = np.nextafter(scale, np.float16(np.inf))
    return np.where(scale < exact, up, scale).astype(np.float32)


class Float8Range(Range):
    """A range whose codes are E4M3's numbers: closer to each other near zero."""

    def quantized(self, x: Tensor) -> Tensor:
        """x (..., channels) rounded to the nearest numbers that have a code."""
        unit = torch.tensor(1.0 if self.channels is None else self.channels) * self.scale
        limit = self.codes / 2
        return _e4m3(torch.clamp(x / unit, -limit, limit)).to(x.dtype) * unit


FORMATS: dict[Precision, Format] = {
    "int8": Format("int8", TensorProto.INT8, 127.0, True, True),
    # TensorRT takes one scale for a matrix in fp8. Of convolutions it has fp8 kernels for some
    # shapes and GPUs only; float16 has them everywhere.
    "fp8": Format("fp8", TensorProto.FLOAT8E4M3FN, 448.0, False, False),
}


def _e4m3(x: Tensor) -> Tensor:
    return x.to(torch.float8_e4m3fn)
