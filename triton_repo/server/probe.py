"""A tiny, real inference, to see whether a model answers."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http.client import HTTPException
from math import prod
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request

from ...runtime.engines.session import WAVEFORM
from ..contract.mulan import LABELS
from .triton_http import ask

# Given although they are optional: without them the model computes nothing.
_NEEDED = (WAVEFORM, LABELS)
# The length of what is not a waveform: of a text in bytes or tokens.
_LENGTH = 16
# In the parameters of every model of muqrt's that takes a waveform.
_MINIMUM = re.compile(r'"minimum_samples": ?([0-9]+)')
# Triton's words for a model that is not loaded, whose status differs between its versions.
_NOT_LOADED = ("unknown model", "is not ready", "not available")
_UNAVAILABLE, _FIRST_SERVER_ERROR = 503, 500


class Answer(Enum):
    """What a tiny inference showed."""

    WORKS = auto()  # an answer, or a refusal by the model itself
    BUSY = auto()  # its queue or its places are full
    FAILS = auto()  # an error inside the server
    SILENT = auto()  # no answer in time
    GONE = auto()  # no server


@dataclass(frozen=True)
class Probe:
    """The smallest request that a model's configuration allows.

    Attributes:
        path: of its HTTP endpoint.
        body: the request, without the id of a sequence.
        is_sequence: whether it begins and ends a sequence.
    """

    path: str
    body: Mapping[str, Any]
    is_sequence: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Probe":
        """The probe for a model's configuration, in Triton's JSON."""
        given = [each for each in config["input"] if _is_given(each)]
        model = f"/v2/models/{quote(config['name'])}"
        if config.get("model_transaction_policy", {}).get("decoupled"):
            # The only HTTP endpoint for decoupled models; it takes plain values.
            values = {each["name"]: _tensor(each, config)["data"] for each in given}
            return cls(f"{model}/generate_stream", values, "sequence_batching" in config)
        inputs = [_tensor(each, config) for each in given]
        return cls(f"{model}/infer", {"inputs": inputs}, "sequence_batching" in config)

    def send(self, server_url: str, timeout_seconds: float) -> Answer:
        """Ask once."""
        body = dict(self.body)
        if self.is_sequence:
            body["parameters"] = {
                "sequence_id": secrets.randbits(62) + 1,
                "sequence_start": True,
                "sequence_end": True,
            }
        request = Request(
            server_url + self.path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        try:
            ask(request, timeout_seconds)
            return Answer.WORKS
        except HTTPError as error:
            with error:
                return _meaning(error.code, error.read().decode(errors="replace"))
        except TimeoutError:
            return Answer.SILENT
        except (OSError, HTTPException) as error:
            is_late = isinstance(getattr(error, "reason", None), TimeoutError)
            return Answer.SILENT if is_late else Answer.GONE


def _meaning(status: int, message: str) -> Answer:
    if any(words in message for words in _NOT_LOADED):
        return Answer.FAILS
    if status == _UNAVAILABLE:
        return Answer.BUSY
    return Answer.FAILS if status >= _FIRST_SERVER_ERROR else Answer.WORKS


def _is_given(tensor: Mapping[str, Any]) -> bool:
    return not tensor.get("optional") or tensor["name"] in _NEEDED


def _tensor(tensor: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    size = _minimum_samples(config) if tensor["name"] == WAVEFORM else _LENGTH
    shape = [size if int(dim) < 0 else int(dim) for dim in tensor["dims"]]
    if int(config.get("max_batch_size", 0)) > 0:
        shape.insert(0, 1)
    kind = tensor["data_type"].removeprefix("TYPE_")
    return {
        "name": tensor["name"],
        "shape": shape,
        "datatype": "BYTES" if kind == "STRING" else kind,
        "data": [_value(kind)] * prod(shape),
    }


def _minimum_samples(config: Mapping[str, Any]) -> int:
    parameters = config.get("parameters", {}).values()
    found = [_MINIMUM.search(each.get("string_value", "")) for each in parameters]
    return max([int(each[1]) for each in found if each], default=_LENGTH)


def _value(kind: str) -> Any:
    """Silence, the letter a, or the token that all vocabularies have."""
    if kind.startswith(("FP", "BF")):
        return 0.0
    return {"STRING": "a", "UINT8": ord("a"), "BOOL": True}.get(kind, 1)
