"""``muq_stream``: tags of live streams.

Only translates: requests to chunks, hops to outputs, totals to metrics.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError
from muqrt.runtime.bundle.tagging import TAGS
from muqrt.runtime.streaming.engine import Hop
from muqrt.triton_repo.backends.python.batched import BatchedModel
from muqrt.triton_repo.contract.stream import CHUNK_INDEX, PCM, RATE, SECONDS, SILENT, WAVEFORM
from muqrt.triton_repo.serving.live_streams import StreamChunk
from muqrt.triton_repo.serving.load import load_streams

_PUBLISH_SECONDS = 1.0  # as often as the server's own metrics change
# What each counter counts, by the name of its total.
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


class StreamModel(BatchedModel[StreamChunk, list[Hop]]):
    """Advances live streams; a thread publishes their metrics."""

    def _load(self, folder: Path, parameters: Mapping[str, str]) -> None:
        self._streams, self._tags = load_streams(folder, parameters)

    def _start(self) -> None:
        self._publish()
        self._stopped = Event()
        self._publisher = Thread(target=self._keep_publishing, daemon=True)
        self._publisher.start()

    def finalize(self) -> None:
        """Stop publishing and free the model."""
        self._stopped.set()
        self._publisher.join()
        del self._streams

    def _cancelled(self, request: Any) -> None:
        chunk = self._read(request)
        if chunk.starts or chunk.ends:
            self._streams.drop(chunk.stream_id)

    def _read(self, request: Any) -> StreamChunk:
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

    def _answer(self, asked: list[StreamChunk]) -> list[list[Hop] | MuqrtError]:
        return self._streams.advance(asked)

    def _outputs(self, found: list[Hop], request: Any) -> dict[str, np.ndarray]:
        tags = np.array([hop.outputs[TAGS] for hop in found], np.float32)
        seconds = np.array([(hop.start_seconds, hop.end_seconds) for hop in found], np.float64)
        hops = len(found)
        outputs = {
            TAGS: tags.reshape(hops, self._tags),
            SECONDS: seconds.reshape(hops, 2),
            SILENT: np.array([hop.is_silent for hop in found], bool),
        }
        # Repositories that were written by older versions do not name all of them.
        return {name: outputs[name] for name in request.requested_output_names()}

    def _keep_publishing(self) -> None:
        # Also drops idle streams while no requests come. Not in execute(), because every change of
        # a metric is a message to the server.
        while not self._stopped.wait(_PUBLISH_SECONDS):
            self._publish()

    def _publish(self) -> None:
        live, totals = self._streams.take_stock()
        self._metrics.set("muqrt_live_streams", "Streams that are live now", live)
        for name, total in asdict(totals).items():
            self._metrics.count(f"muqrt_{name}_total", _DESCRIPTIONS[name], total)
