"""Arrays of other libraries, read through DLPack, and memory that grows."""

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.errors import SessionError
from muqrt.runtime.engines.cuda.memory import Memory, _Tensor, read_capsule


@settings(max_examples=10, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    dtype=st.sampled_from(["float16", "float32", "float64", "int32", "uint8", "int64"]),
)
def test_numpys_own_arrays_are_found(shape: list[int], dtype: str) -> None:
    array = np.zeros(shape, dtype)
    found = read_capsule(array.__dlpack__())
    assert (found.address, found.shape, found.dtype) == (
        array.ctypes.data,
        array.shape,
        array.dtype,
    )
    assert (found.ndim, found.nbytes) == (array.ndim, array.nbytes)


@pytest.mark.parametrize("part", [np.s_[:, ::2], np.s_[::-1], np.s_[:, :3]])
def test_what_is_not_in_one_piece_is_refused(part: Any) -> None:
    with pytest.raises(SessionError, match="not contiguous"):
        read_capsule(np.zeros((3, 4))[part].__dlpack__())


def test_a_row_has_any_stride() -> None:
    array = np.zeros((3, 4))
    assert read_capsule(array[1:2].__dlpack__()).address == array[1:].ctypes.data


def capsule(keep: list[Any], **changes: int) -> Any:
    """Of a made-up array of three float32, contiguous, without strides."""
    facts = {"data": 4096, "ndim": 1, "code": 2, "bits": 32, "lanes": 1, **changes}
    tensor = _Tensor(**facts, shape=(ctypes.c_int64 * 1)(3))
    name = ctypes.create_string_buffer(b"dltensor")
    keep += [tensor, name]
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p] * 3
    return new(ctypes.addressof(tensor), ctypes.addressof(name), None)


def test_an_offset_is_added() -> None:
    keep: list[Any] = []
    assert read_capsule(capsule(keep, byte_offset=8)).address == 4104


@pytest.mark.parametrize("changes", [{"lanes": 2}, {"code": 4}, {"code": 1, "bits": 4}])
def test_numbers_that_numpy_does_not_know_are_refused(changes: dict[str, int]) -> None:
    keep: list[Any] = []
    with pytest.raises(SessionError, match="not integers or floats"):
        read_capsule(capsule(keep, **changes))


def test_memory_keeps_its_address_until_more_is_asked_for() -> None:
    freed: list[int] = []
    memory = Memory(lambda size: 1000 + size, freed.append)
    memory.reserve(8)
    memory.reserve(4)
    assert (memory.address, memory.size_bytes, freed) == (1008, 8, [])
    memory.reserve(9)
    assert (memory.address, memory.size_bytes, freed) == (1009, 9, [1008])
    memory.free()
    memory.free()
    assert freed == [1008, 1009] and memory.size_bytes == 0
