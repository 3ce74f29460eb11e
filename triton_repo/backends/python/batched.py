"""What the models in Python share: requests that are answered together, refusals, and metrics.

Only the server's Python can import this.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import AudioError, MuqrtError, SessionError, UsageError
from muqrt.runtime.engines.session import check_finite
from muqrt.triton_repo.backends.onnxruntime.model import Shared
from muqrt.triton_repo.client.connection import BusyError
from muqrt.triton_repo.serving.live_streams import NoSuchStreamError, TooManyStreamsError

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")

# Triton's error code for each kind of refusal; INTERNAL for all others.
_CODES = {
    AudioError: "INVALID_ARG",
    UsageError: "INVALID_ARG",
    NoSuchStreamError: "NOT_FOUND",
    BusyError: "UNAVAILABLE",
    TooManyStreamsError: "UNAVAILABLE",
}


class BatchedModel(ABC, Generic[_Asked, _Found]):
    """The only instance of a model; answers all waiting requests together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the folder ``<model_repository>/<version>``."""
        config = json.loads(args["model_config"])
        parameters = {name: each["string_value"] for name, each in config["parameters"].items()}
        try:
            self._load(Path(args["model_repository"]) / args["model_version"], parameters)
        except MuqrtError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._metrics = Metrics({"model": args["model_name"], "version": args["model_version"]})
        self._start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests, in their order."""
        responses: list[Any] = [None] * len(requests)
        asked: dict[int, _Asked] = {}
        for place, request in enumerate(requests):
            if request.is_cancelled():
                self._cancelled(request)
                responses[place] = cancelled()
                continue
            try:
                asked[place] = self._read(request)
            except UsageError as refusal:
                responses[place] = failure(refusal)
        found = self._answer(list(asked.values())) if asked else []
        for place, answer in zip(asked, found, strict=True):
            if isinstance(answer, MuqrtError):
                responses[place] = failure(answer)
            else:
                responses[place] = _response(self._outputs(answer, requests[place]))
        return responses

    @abstractmethod
    def _load(self, folder: Path, parameters: Mapping[str, str]) -> None:
        """Load a version's folder, as the configuration's parameters say."""

    def _start(self) -> None:
        """Start what runs beside the requests; called once the model is loaded."""

    def _cancelled(self, request: Any) -> None:
        """Clean up after a request that its client has cancelled."""

    @abstractmethod
    def _read(self, request: Any) -> _Asked:
        """Read a request; raise UsageError to refuse it."""

    @abstractmethod
    def _answer(self, asked: list[_Asked]) -> Sequence[_Found | MuqrtError]:
        """Answer each request, or give the error to answer it with."""

    @abstractmethod
    def _outputs(self, found: _Found, request: Any) -> dict[str, np.ndarray]:
        """An answer's outputs by name."""


class Metrics:
    """Counters and gauges of the server's own metrics, with a model's labels."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self._families: list[Any] = []  # a metric ends with its family
        self._counters: dict[str, tuple[Any, float]] = {}
        self._gauges: dict[str, Any] = {}

    def count(self, name: str, description: str, total: float) -> None:
        """Raise a counter to ``total``."""
        kind = pb_utils.MetricFamily.COUNTER
        metric, before = self._counters.get(name) or (self._metric(name, description, kind), 0)
        if total > before:
            metric.increment(total - before)
        self._counters[name] = metric, total

    def set(self, name: str, description: str, value: float) -> None:
        """Set a gauge."""
        if name not in self._gauges:
            self._gauges[name] = self._metric(name, description, pb_utils.MetricFamily.GAUGE)
        self._gauges[name].set(value)

    def _metric(self, name: str, description: str, kind: Any) -> Any:
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return family.Metric(labels=self._labels)


def lines(texts: Sequence[str]) -> np.ndarray:
    """Texts as an output: UTF-8, one a line."""
    # DLPack takes no array that cannot be written to.
    return np.frombuffer("\n".join(texts).encode(), np.uint8).copy()


def tensor(name: str, array: np.ndarray) -> Any:
    """An output of one request, with its batch dimension."""
    # Not array[None]: where it is empty that has strides of 0, which Triton refuses.
    return pb_utils.Tensor.from_dlpack(name, Shared(array.reshape(1, *array.shape)))


def _response(outputs: Mapping[str, np.ndarray]) -> Any:
    """The answer with these outputs, if all their numbers are finite."""
    try:
        for name, array in outputs.items():
            check_finite(array, name)
    except SessionError as error:
        return failure(error)
    return pb_utils.InferenceResponse([tensor(name, array) for name, array in outputs.items()])


def failure(error: MuqrtError) -> Any:
    """The response to a request that cannot be answered."""
    code = next((name for kind, name in _CODES.items() if isinstance(error, kind)), "INTERNAL")
    return _refusal(str(error), code)


def cancelled() -> Any:
    """The response to a request that its client has cancelled."""
    return _refusal("cancelled", "CANCELLED")


def _refusal(message: str, code: str) -> Any:
    error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse([], error)
