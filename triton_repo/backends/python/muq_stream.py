"""Live streams behind Triton's Python backend: the ``model.py`` of ``muq_stream``.

``muqrt repository --stream`` copies it beside a bundle. It only translates: requests to chunks,
hops to responses, totals to metrics. muqrt itself is installed in the server's Python.
"""

import json
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, SessionError
from muqrt.runtime.bundle.tagging import TAGS
from muqrt.runtime.streaming.engine import Hop
from muqrt.triton_repo.backends.onnxruntime.model import Shared
from muqrt.triton_repo.contract.stream import CHUNK_INDEX, PCM, RATE, SECONDS, WAVEFORM
from muqrt.triton_repo.serving.live_streams import (
    NoSuchStreamError,
    StreamChunk,
    TooManyStreamsError,
    Totals,
)
from muqrt.triton_repo.serving.load import load_streams

_PUBLISH_SECONDS = 1.0  # as often as the server's own metrics change
# Triton's name for why a chunk was refused; otherwise something is wrong with the chunk.
_CODES = {
    NoSuchStreamError: "NOT_FOUND",
    TooManyStreamsError: "UNAVAILABLE",
    SessionError: "INTERNAL",
}
# Of the counters: the totals' names, and what they count.
_DESCRIPTIONS = {
    "streams_opened": "Streams that were opened",
    "streams_restarted": "Streams opened in place of a live one of the same id",
    "streams_refused": "Streams refused because too many were live",
    "streams_expired": "Streams dropped because nothing came for too long",
    "hops": "Windows that were answered",
    "late_hops": "Windows answered more than a hop after their audio reached the model",
    "stream_seconds": "Seconds of audio that were taken in",
    "stream_busy_seconds": "Seconds that the model was busy; over those of audio: real-time factor",
}


class TritonPythonModel:
    """The only instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle in ``<model_repository>/<version>`` and run it."""
        config = json.loads(args["model_config"])
        parameters = {name: each["string_value"] for name, each in config["parameters"].items()}
        try:
            folder = Path(args["model_repository"]) / args["model_version"]
            self._streams, self._tags = load_streams(folder, parameters)
        except MuqrtError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._metrics = _Metrics({"model": args["model_name"], "version": args["model_version"]})
        self._stopped = Event()
        self._publisher = Thread(target=self._publish, daemon=True)
        self._publisher.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Advance the streams of all requests together."""
        responses: list[Any] = [None] * len(requests)
        chunks: dict[int, StreamChunk] = {}
        for place, request in enumerate(requests):
            chunk = _chunk(request)
            if not request.is_cancelled():
                chunks[place] = chunk
                continue
            responses[place] = _failure("cancelled", "CANCELLED")
            if chunk.starts or chunk.ends:
                self._streams.drop(chunk.stream_id)
        answers = self._streams.advance(list(chunks.values()))
        for place, answer in zip(chunks, answers, strict=True):
            responses[place] = self._response(answer)
        return responses

    def finalize(self) -> None:
        """Stop publishing and free the model."""
        self._stopped.set()
        self._publisher.join()
        del self._streams

    def _response(self, answer: list[Hop] | MuqrtError) -> Any:
        if isinstance(answer, MuqrtError):
            return _failure(str(answer), _CODES.get(type(answer), "INVALID_ARG"))
        tags = np.array([hop.outputs[TAGS] for hop in answer], np.float32)
        seconds = np.array([(hop.start_seconds, hop.end_seconds) for hop in answer], np.float64)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor.from_dlpack(name, Shared(array.reshape(1, len(answer), width)))
                for name, array, width in ((TAGS, tags, self._tags), (SECONDS, seconds, 2))
            ]
        )

    def _publish(self) -> None:
        # Also drops idle streams while no requests come. Apart from execute(), because every change
        # of a metric is a message to the server.
        while not self._stopped.wait(_PUBLISH_SECONDS):
            self._metrics.publish(*self._streams.take_stock())


class _Metrics:
    """The totals as the server's metrics."""

    def __init__(self, labels: dict[str, str]) -> None:
        def metric(name: str, description: str, kind: Any) -> Any:
            family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
            self._families.append(family)
            return family.Metric(labels=labels)

        self._families: list[Any] = []  # a metric ends with its family
        self._published = Totals()
        self._live = metric(
            "muqrt_live_streams", "Streams that are live now", pb_utils.MetricFamily.GAUGE
        )
        self._counters = {
            name: metric(f"muqrt_{name}_total", description, pb_utils.MetricFamily.COUNTER)
            for name, description in _DESCRIPTIONS.items()
        }

    def publish(self, live: int, totals: Totals) -> None:
        """What has changed since the last time."""
        before = asdict(self._published)
        self._live.set(live)
        for name, value in asdict(totals).items():
            if value > before[name]:
                self._counters[name].increment(value - before[name])
        self._published = totals


def _chunk(request: Any) -> StreamChunk:
    def array(name: str) -> np.ndarray | None:
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return None if tensor is None else np.from_dlpack(tensor)[0]

    def number(name: str) -> int | None:
        found = array(name)
        return None if found is None else int(found[0])

    flags = request.flags()
    return StreamChunk(
        request.correlation_id(),
        array(WAVEFORM),
        array(PCM),
        starts=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        ends=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
        rate_hz=number(RATE),
        index=number(CHUNK_INDEX),
    )


def _failure(message: str, code: str) -> Any:
    error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse([], error)
