"""Buffers in memory that a GPU reads and writes, and arrays that other libraries keep there."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ....errors import SessionError

# DLPack's DLDeviceType and DLDataTypeCode.
_HOST, _CUDA = 1, 2
_KINDS = {0: "i", 1: "u", 2: "f"}


class Memory:
    """A buffer that keeps its address until a larger one is asked for.

    Args:
        allocate: allocates a number of bytes and returns their address.
        free: frees the bytes at an address.
    """

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._allocate, self._free = allocate, free
        self.address, self.size_bytes = 0, 0

    def reserve(self, size_bytes: int) -> None:
        """Make the buffer at least this large; if it has to grow, its contents are lost."""
        if size_bytes > self.size_bytes:
            self.free()
            self.address = int(self._allocate(size_bytes))
            self.size_bytes = size_bytes

    def free(self) -> None:
        """Free the buffer."""
        if self.size_bytes:
            self._free(self.address)
        self.address, self.size_bytes = 0, 0

    def view(self, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """A host buffer as an array; valid until ``reserve`` or ``free``."""
        raw = (ctypes.c_byte * (prod(shape) * dtype.itemsize)).from_address(self.address)
        return np.frombuffer(memoryview(raw), dtype).reshape(shape)


@dataclass(frozen=True)
class DeviceArray:
    """Another library's contiguous array in the GPU's memory; ``owner`` keeps it alive."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    owner: Any

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


def reachable(inputs: Mapping[str, Any], device: int, stream: int) -> dict[str, Any]:
    """NumPy arrays unchanged, and arrays of other libraries as ``borrowed`` returns them."""
    return {
        name: borrowed(each, device, stream)
        if hasattr(each, "__dlpack__") and not isinstance(each, np.ndarray)
        else each
        for name, each in inputs.items()
    }


def borrowed(tensor: Any, device: int, stream: int) -> "DeviceArray | np.ndarray":
    """An array of any library that speaks DLPack (PyTorch, CuPy, JAX), without a copy.

    Args:
        tensor: the array.
        device: index of the only GPU that it may lie on.
        stream: the stream that will read it, after all that its owner has queued for it.
    """
    kind, index = tensor.__dlpack_device__()
    if kind == _HOST:
        return np.from_dlpack(tensor)
    if (kind, index) != (_CUDA, device):
        raise SessionError(
            f"an input lies on device {index} of DLPack's kind {kind}; this session runs on GPU "
            f"{device}. Move it there, or open the session on its device."
        )
    return read_capsule(tensor.__dlpack__(stream=stream))


def read_capsule(capsule: Any) -> DeviceArray:
    """The array that a DLPack capsule describes; the capsule stays its owner."""
    found = _Tensor.from_address(_pointer_of(capsule, b"dltensor"))
    shape = tuple(found.shape[: found.ndim])
    steps = [prod(shape[i + 1 :]) for i in range(found.ndim)]
    if found.strides and any(
        size > 1 and stride != step
        for size, stride, step in zip(shape, found.strides[: found.ndim], steps, strict=True)
    ):
        raise SessionError("an input is not contiguous in the GPU's memory: make it so first.")
    if found.lanes != 1 or found.bits % 8 or found.code not in _KINDS:
        raise SessionError("an input's numbers are not integers or floats that NumPy knows.")
    dtype = np.dtype(f"{_KINDS[found.code]}{found.bits // 8}")
    return DeviceArray((found.data or 0) + found.byte_offset, shape, dtype, capsule)


class _Tensor(ctypes.Structure):
    """DLPack's DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
