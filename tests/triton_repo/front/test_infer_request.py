"""What is wrong with an inference request is found before Triton sees it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.triton_repo.front.asgi import RefusedError
from muqrt.triton_repo.front.http.infer_request import check_infer_request
from muqrt.triton_repo.front.limits import FrontLimits

LIMITS = FrontLimits()


def tensor(shape: list[int], data: object = None, **more: object) -> dict[str, object]:
    given = {} if data is None else {"data": data}
    return {"name": "waveform", "shape": shape, "datatype": "FP32", **given, **more}


def request(*inputs: Mapping[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def check(head: bytes, binary_bytes: int = 0) -> None:
    check_infer_request(head, len(head) + binary_bytes, LIMITS)


def binary(shape: list[int], size: object, **more: object) -> dict[str, object]:
    return tensor(shape, parameters={"binary_data_size": size}, **more)


@pytest.mark.parametrize(
    ("head", "binary_bytes"),
    [
        (request(tensor([1, 3], [0.5, 1, -2])), 0),
        (request(tensor([2, 2], [[1, 2], [3, 4]])), 0),
        (request(tensor([2, 100], [[0.25] * 100, [1e-9] * 100])), 0),
        (request(tensor([1, 500], list(range(500)))), 0),
        (request(tensor([], [1])), 0),
        (request(tensor([0, 5], [])), 0),
        (request(tensor([2], ["[1,2", "3]"], datatype="BYTES")), 0),
        (request(binary([1, 24_000], 96_000)), 96_000),
        (request(binary([1], 9, datatype="BYTES")), 9),
        (request(binary([3], 12), tensor([1], [7]), outputs=[{"name": "tags"}]), 12),
        (request(tensor([1], [7]), id="x", parameters={"sequence_id": 7}), 0),
    ],
)
def test_what_fits_together_is_taken(head: bytes, binary_bytes: int) -> None:
    check(head, binary_bytes)


HUGE = [1] * 100
SHARED = {"parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 4}}


@pytest.mark.parametrize(
    ("head", "binary_bytes", "why"),
    [
        (request(tensor([1, 99_999_999_999], [1])), 0, "more than the body holds"),
        (request(tensor([0, 99_999_999_999], [])), 0, "more than the body holds"),
        (request(tensor([2**62, 4], [])), 0, "more than the body holds"),
        (request(tensor([1, 101], HUGE)), 0, "101.* elements; its data are 100"),
        (request(tensor([-1], [1])), 0, "list of sizes"),
        (request(tensor([1.0], [1])), 0, "list of sizes"),
        (request(tensor([True], [1])), 0, "list of sizes"),
        (request(tensor([1] * 9, [1])), 0, "8 dimensions"),
        (request(tensor([1])), 0, "data: must be"),
        (request(tensor([1], {"a": 1})), 0, "data: must be"),
        (request(binary([1, 3], 12)), 8, "12 bytes of binary data; 8 were sent"),
        (request(binary([1, 3], 8)), 8, "is 12 bytes; its data are 8"),
        (request(binary([1, 3], -12)), 12, "must be a number of bytes"),
        (request(binary([1, 3], 12, data=[1, 2, 3])), 12, "excludes data"),
        (request(tensor([1], [1], datatype="FP99")), 0, "datatype"),
        (request(tensor([1], [1], **SHARED)), 0, "shared memory"),
        (request(tensor([1], [1]), outputs=[{"name": "tags", **SHARED}]), 0, "shared memory"),
        (request(), 0, "one at least"),
        (request(*[tensor([1], [1])] * 65), 0, "at most 64"),
        (b'{"inputs": 3}', 0, "list of objects"),
        (b"[]", 0, "not a JSON object"),
        (b"\xff\xfe{\x00}\x00", 0, "not JSON"),
        (b'{"inputs": [NaN]}', 0, "not JSON"),
        (request(tensor([1], [1])) + b"x", 0, "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, 0, "too deep"),
        (b'{"inputs": 1%s}' % (b"1" * 5_000), 0, "not JSON"),
        (b'{"inputs": "%s"}' % (b"x" * 300_000), 0, "intricate"),
        (b" " * (17 << 20), 0, "16 MiB"),
    ],
)
def test_what_does_not_is_refused(head: bytes, binary_bytes: int, why: str) -> None:
    with pytest.raises(RefusedError, match=why) as refused:
        check(head, binary_bytes)
    assert refused.value.status in (400, 413)


def test_a_key_that_is_given_twice_is_refused() -> None:
    twice = request(tensor([1], [1])).replace(b'"shape":', b'"shape": [99999999999], "shape":')
    with pytest.raises(RefusedError, match="twice"):
        check(twice)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["name", "shape", "datatype", "data", "parameters"])
LISTS = st.lists(st.integers(-2, 2**40) | st.floats(width=32) | st.just([[]]), max_size=5)
TENSORS = st.dictionaries(KEYS, VALUES | LISTS | st.just("FP32"), max_size=5)


@settings(deadline=None)
@given(st.lists(TENSORS, max_size=3), st.dictionaries(st.sampled_from(["outputs", "id"]), VALUES))
def test_nothing_else_is_raised(inputs: list[Any], more: dict[str, Any]) -> None:
    try:
        check(request(*inputs, **more))
    except RefusedError as refused:
        assert refused.status in (400, 413)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError):
        check(data)


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=300))
def test_lists_are_counted_as_json_counts_them(data: list[float]) -> None:
    check(request(tensor([len(data)], data)))
    with pytest.raises(RefusedError):
        check(request(tensor([len(data) + 1], data)))
