"""Live tags from a Triton server: chunks of audio in, hops out, while the sound goes on."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ...common.closing import Closing
from ...errors import ServerError
from ...runtime.bundle.tagging import TAGS, Tagging
from ...runtime.streaming.engine import Hop
from ...runtime.streaming.stream import SlidingConfig
from ..contract.config import parameters_of
from ..contract.stream import SECONDS, StreamContract
from ..extras import server_extra
from .connection import BusyError, Connection, GoneError, LostStreamError, as_tensor
from .stream_state import ClientStream, StreamRequest

MODEL = "muq_stream"
TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
# Nobody waits for what is said at the end of a stream that is given up.
END_TIMEOUT_SECONDS = 2.0
# After these the stream goes on, on a new connection or as a new stream.
PASSING = (BusyError, GoneError, LostStreamError)


class StreamingClient(Closing):
    """A served live model. A context manager; ``close`` ends what streams are left.

    Several streams may be used by turns, or one client by several threads.

    Args:
        url: host and port of the server's gRPC endpoint.
        model: name of the model on the server.
        timeout_seconds: how long one answer may take.
        patience_seconds: how long to try again while the server is full or away.

    Attributes:
        tagging: the tags' names and thresholds.
        sliding: when hops come, and for how long a window.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        model: str = MODEL,
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.model = model
        self.timeout_seconds, self.patience_seconds = timeout_seconds, patience_seconds
        self._connection = Connection(url)
        answer = self._connection.call(
            "get_model_config", model, **config_of(model, timeout_seconds)
        )
        self.tagging, self.sliding = contract_in(answer, url, model)
        self._streams: set[ClientStream] = set()
        self._open = True

    def stream(
        self, chunks: Iterable[np.ndarray], rate_hz: int, name: str = "stream"
    ) -> Iterator[Hop]:
        """What the model says of a stream, hop by hop, as soon as the server has answered.

        However it ends, the server is told: when the chunks do, when the caller stops early, on
        an error. If the server is replaced, a window of audio is sent again, and the hops go on
        with the times that they would have had.

        Args:
            chunks: (samples,) or (channels, samples), float32, float64, int16 or int32, of any
                length; it may take as long as it likes.
            rate_hz: of the chunks.
            name: what errors call the stream.

        Yields:
            ``Hop`` with ``tags``, in order; the last may be shorter than a hop after the others.

        Raises:
            AudioError: samples that cannot be used, or none. ServerError: no answer in time, the
                server refused the audio, or it was full or away for too long.
        """
        live = ClientStream(self.sliding, rate_hz, name, self.patience_seconds)
        self._streams.add(live)
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
        arguments = arguments_of(request, self.model, timeout_seconds)
        return self._connection.call("infer", self.model, **arguments)

    def _end(self, live: ClientStream) -> None:
        self._streams.discard(live)
        if live.is_open:
            # A server that does not hear it drops the stream by itself, after a while.
            with suppress(ServerError):
                self._infer(live.last_request(), END_TIMEOUT_SECONDS)

    def close(self) -> None:
        """End what streams are left and close the connection. Calling it twice is harmless."""
        for live in list(self._streams):
            self._end(live)
        self._open = False
        self._connection.close()


def config_of(model: str, timeout_seconds: float) -> dict[str, Any]:
    """What ``get_model_config`` is called with."""
    return {"model_name": model, "client_timeout": timeout_seconds}


def contract_in(answer: Any, url: str, model: str) -> tuple[Tagging, SlidingConfig]:
    """What a served live model says of itself.

    Raises:
        ServerError: it is another model.
    """
    try:
        contract = StreamContract.from_parameters(parameters_of(answer.config))
    except (KeyError, ValueError) as error:
        raise ServerError(
            f"Model {model!r} at {url} is not a live model of this version of muqrt ({error}). "
            "Write one with: muqrt repository --stream"
        ) from error
    return contract.tagging, contract.sliding


def arguments_of(request: StreamRequest, model: str, timeout_seconds: float) -> dict[str, Any]:
    """What ``infer`` is called with."""
    grpc = server_extra("tritonclient.grpc")
    return {
        "model_name": model,
        "inputs": [as_tensor(name, array[None]) for name, array in request.inputs.items()],
        "outputs": [grpc.InferRequestedOutput(name) for name in (TAGS, SECONDS)],
        "sequence_id": request.stream_id,
        "sequence_start": request.is_start,
        "sequence_end": request.is_end,
        "client_timeout": timeout_seconds,
    }


def rows_in(answer: Any) -> tuple[np.ndarray, np.ndarray]:
    """The hops in an answer: tags float32 (hops, tags), seconds float64 (hops, 2)."""
    return answer.as_numpy(TAGS)[0], answer.as_numpy(SECONDS)[0]
