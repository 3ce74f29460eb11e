"""Inference requests of the KServe protocol, version 2: whether the parts of one fit together.

Triton allocates what a shape asks for before it looks at the data, and its JSON parser recurses.
"""

import json
import re
import secrets
from collections.abc import Mapping
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

from ..asgi import RefusedError
from ..limits import FrontLimits

_BYTES = {"BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8}
_BYTES |= {"INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8}
_BYTES |= {"BF16": 2, "BYTES": 4}  # at least: each string's length is written before it
_MOST_TENSORS = 64
_MOST_DIMENSIONS = 8
_DEEPEST = 32
# A list of numbers without lists in it, long enough to be worth cutting out.
_NUMBERS = re.compile(rb"\[[-+0-9.eE, \t\r\n]{64,}\]")
# Stands for a list that was cut out, with its length. It cannot be guessed, and so not be sent.
_CUT = secrets.randbits(62)


def check_infer_request(head: bytes, body_length: int, limits: FrontLimits) -> None:
    """Check an inference request's JSON.

    Args:
        head: the JSON.
        body_length: of the whole body; what follows the JSON is the tensors' binary data.
        limits: of the front.

    Raises:
        RefusedError: it is not JSON, describes no tensors, or their shapes, types and data do not
            fit together; or it uses shared memory.
    """
    request = _parse(head, limits)
    inputs, outputs = _tensors(request, "inputs"), _tensors(request, "outputs")
    if not inputs:
        raise RefusedError(400, "inputs: there must be one at least")
    for tensor in (*inputs, *outputs):
        if any(str(key).startswith("shared_memory") for key in _parameters(tensor)):
            raise RefusedError(400, "shared memory is not for clients; send the data")
    binary = sum(_check_input(tensor, body_length) for tensor in inputs)
    if binary != body_length - len(head):
        raise RefusedError(
            400,
            f"the inputs have {binary} bytes of binary data; {body_length - len(head)} were sent",
        )


def _parse(head: bytes, limits: FrontLimits) -> Mapping[str, Any]:
    if len(head) > limits.json_bytes:
        mib = limits.json_bytes >> 20
        raise RefusedError(413, f"JSON may have {mib} MiB; send long audio as binary data")
    structure = _NUMBERS.sub(_length, head)
    if len(structure) > limits.structure_bytes:
        raise RefusedError(413, "the JSON is too intricate; send the data as binary data")
    if _depth(structure) > _DEEPEST:
        raise RefusedError(400, "the JSON is too deep")
    try:
        request = json.loads(
            structure.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON ({error})") from None
    if not isinstance(request, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return request


def _length(match: "re.Match[bytes]") -> bytes:
    return b"[%d,%d]" % (_CUT, match[0].count(b",") + 1)


def _depth(structure: bytes) -> int:
    """How deep the brackets are nested, or more, if there are brackets in strings."""
    brackets = re.sub(rb"[^][{}]", b"", structure)
    return max(accumulate((1 if each in b"[{" else -1 for each in brackets), initial=0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Of two values one parser takes the first, another the last.
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _tensors(request: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    tensors = request.get(key, [])
    if not isinstance(tensors, list) or not all(isinstance(each, dict) for each in tensors):
        raise RefusedError(400, f"{key}: must be a list of objects")
    if len(tensors) > _MOST_TENSORS:
        raise RefusedError(400, f"{key}: at most {_MOST_TENSORS}")
    return tensors


def _parameters(tensor: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RefusedError(400, "parameters: must be an object")
    return parameters


def _check_input(tensor: Mapping[str, Any], body_length: int) -> int:
    """Check an input; how many bytes of binary data it has."""
    name, shape, datatype = (tensor.get(key) for key in ("name", "shape", "datatype"))
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in _BYTES:
        raise RefusedError(400, "inputs: each needs a name and a datatype, such as FP32")
    elements = _elements(shape, body_length)
    binary = _parameters(tensor).get("binary_data_size")
    if binary is None:
        given = _count(tensor.get("data"), _MOST_DIMENSIONS)
        if given != elements:
            raise RefusedError(
                400, f"an input's shape {shape} is {elements} elements; its data are {given}"
            )
        return 0
    if not _is_size(binary) or "data" in tensor:
        raise RefusedError(400, "binary_data_size: must be a number of bytes, and excludes data")
    size = elements * _BYTES[datatype]
    if binary < size or (binary > size and datatype != "BYTES"):
        raise RefusedError(
            400, f"an input's shape {shape} of {datatype} is {size} bytes; its data are {binary}"
        )
    return int(binary)


def _elements(shape: Any, body_length: int) -> int:
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise RefusedError(400, "shape: must be a list of sizes")
    if len(shape) > _MOST_DIMENSIONS:
        raise RefusedError(400, f"shape: at most {_MOST_DIMENSIONS} dimensions")
    # Each element takes a byte of the body at least. Zeros do not excuse the other dimensions.
    if max(accumulate((size or 1 for size in shape), mul), default=1) > body_length:
        raise RefusedError(400, f"an input's shape {shape} is more than the body holds")
    return prod(shape)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count(data: Any, depth: int) -> int:
    """How many elements nested lists have."""
    if not isinstance(data, list) or depth < 0:
        raise RefusedError(400, "data: must be a list, or binary_data_size must be given")
    if len(data) == 2 and data[0] == _CUT:
        return int(data[1])
    return sum(_count(each, depth - 1) if isinstance(each, list) else 1 for each in data)
