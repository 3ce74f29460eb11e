"""Live tags from a Triton server: chunks of audio in, hops out, while the audio plays."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ...common.closing import Closing
from ...errors import ServerError
from ...runtime.streaming.engine import Hop
from .connection import Connection
from .live_model import END_TIMEOUT_SECONDS, PASSING, LiveModel, rows_in
from .stream_state import ClientStream, StreamRequest


class StreamingClient(LiveModel, Closing):
    """A live model on a Triton server. A context manager; ``close`` ends the open streams.

    Several streams may be interleaved, and several threads may share one client.

    Args:
        url: host and port of the server's gRPC endpoint.
        model: name of the model on the server; muq_stream by default.
        timeout_seconds: how long one answer may take; 10 by default.
        patience_seconds: how long to try again while the server is full or away; 60 by default.

    Attributes:
        tagging: the tags' names and thresholds.
        sliding: the time between hops, and the length of their windows.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """

    def _connect(self) -> None:
        self._connection = Connection(self.url)
        call = self._connection.call
        self._describe(call("get_model_config", self.model, self.timeout_seconds))
        self._open = True

    def stream(
        self, chunks: Iterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> Iterator[Hop]:
        """Send a stream and yield its hops, each as soon as the server has answered.

        The server is always told when the stream ends: after the last chunk, when the caller stops
        early, and after an error. If the server is replaced, the last window of audio is sent
        again, and the hops continue with unchanged times.

        Args:
            chunks: (samples,) or (channels, samples), float32, float64, int16 or int32, of any
                length, at any pace.
            rate_hz: sample rate of the chunks.
            name: the stream's name in error messages.

        Yields:
            ``Hop`` with ``tags``, in order; the last hop may be shorter than the others.

        Raises:
            AudioError: samples that cannot be used, or none. ServerError: no answer in time, the
                server refused the audio, or it was full or away for too long.
        """
        live = self._begin(rate_hz, name)
        try:
            for chunk in chunks:
                live.append(chunk)
                yield from self._advance(live)
            live.finish()
            yield from self._advance(live)
        finally:
            self._end(live)

    def _advance(self, live: ClientStream) -> Iterator[Hop]:
        while (request := live.next_request()) is not None:
            try:
                answer = self._infer(request, self.timeout_seconds)
            except PASSING as error:
                time.sleep(live.failed(error))
            else:
                yield from live.answered(request, *rows_in(answer))

    def _infer(self, request: StreamRequest, timeout_seconds: float) -> Any:
        if not self._open:
            raise ServerError("the client is closed; make another StreamingClient.")
        arguments = self._arguments(request)
        return self._connection.call("infer", self.model, timeout_seconds, **arguments)

    def _end(self, live: ClientStream) -> None:
        self._streams.discard(live)
        if live.is_open:
            # If this does not arrive, the server drops the stream once it has been idle.
            with suppress(ServerError):
                self._infer(live.last_request(), END_TIMEOUT_SECONDS)

    def close(self) -> None:
        """End the open streams and close the connection. Calling it twice is harmless."""
        for live in list(self._streams):
            self._end(live)
        self._open = False
        self._connection.close()
