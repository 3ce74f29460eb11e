"""As much of a protobuf message as the proxy has to know, without copying the audio in it."""

from collections.abc import Iterator

# Of ModelInferRequest, InferParameter and ModelReadyRequest.
_PARAMETERS, _KEY, _VALUE, _NAME = 4, 1, 2, 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
# A request of this project's has fewer; what comes after so many is not looked at.
_MOST_FIELDS = 256

Value = int | memoryview


def sequence_id(request: bytes) -> int | bytes:
    """The id of the sequence that an inference request is part of; 0 if there is none."""
    try:
        for number, value in _fields(memoryview(request)):
            if number == _PARAMETERS and isinstance(value, memoryview):
                parameter = dict(_fields(value))
                if parameter.get(_KEY) == b"sequence_id":
                    return _only(parameter.get(_VALUE))
    except ValueError:  # the server refuses it
        pass
    return 0


def model_name(request: bytes) -> str:
    """The model of a ModelReadyRequest or a ModelInferRequest; empty if there is none in it."""
    try:
        for number, value in _fields(memoryview(request)):
            if number == _NAME and isinstance(value, memoryview):
                return bytes(value).decode()
    except ValueError:
        pass
    return ""


def _only(value: Value | None) -> int | bytes:
    """The value in an InferParameter, which has one field."""
    if not isinstance(value, memoryview):
        return 0
    for _, found in _fields(value):
        return found if isinstance(found, int) else bytes(found)
    return 0


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """A message's first fields by number; raises ValueError where it is none."""
    position = 0
    for _ in range(_MOST_FIELDS):
        if position == len(message):
            return
        tag, position = _varint(message, position)
        kind, value = tag & 7, 0
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            length, position = _varint(message, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("no such kind of field")
        if length > len(message) - position:
            raise ValueError("a field ends after the message")
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position == len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number does not end")
