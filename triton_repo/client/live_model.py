"""What the synchronous and the asynchronous streaming client share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.bundle.tagging import TAGS, Tagging
from ...runtime.streaming.stream import SlidingConfig
from ..contract.stream import SECONDS, SILENT, StreamContract
from .connection import BusyError, GoneError, LostStreamError, contract_in, tensors
from .endpoint import Endpoint
from .stream_state import ClientStream, StreamRequest

MODEL = "muq_stream"
TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
# How long to wait for the answer to the end of a stream that is given up: nothing depends on it.
END_TIMEOUT_SECONDS = 2.0
# After these the stream goes on, on a new connection or as a new stream.
PASSING = (BusyError, GoneError, LostStreamError)


class LiveModel:
    """The client of a live model on a server.

    Args:
        url: host and port of the server's gRPC endpoint.
        model: name of the model on the server.
        timeout_seconds: how long one answer may take.
        patience_seconds: how long to try again while the server is full or away.

    Attributes:
        tagging: the tags' names and thresholds.
        sliding: the time between hops, and the length of their windows.
    """

    tagging: Tagging
    sliding: SlidingConfig
    _outputs: Sequence[str]

    def __init__(
        self,
        url: str | Endpoint = "localhost:8001",
        model: str = MODEL,
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.url, self.model = url, model
        self.timeout_seconds, self.patience_seconds = timeout_seconds, patience_seconds
        self._streams: set[ClientStream] = set()
        self._connect()

    def _connect(self) -> None:
        """Connect to the server, where that needs no event loop."""

    def _describe(self, answer: Any) -> None:
        """Read the contract from the answer to ``get_model_config``."""
        contract = live_contract(answer, self.url, self.model)
        # Repositories that were written by older versions do not tell silence.
        given = {output.name for output in answer.config.output}
        self._outputs = [name for name in (TAGS, SECONDS, SILENT) if name in given]
        self.tagging, self.sliding = contract.tagging, contract.sliding

    def _begin(self, rate_hz: int, name: str) -> ClientStream:
        live = ClientStream(self.sliding, rate_hz, name, self.patience_seconds)
        self._streams.add(live)
        return live

    def _arguments(self, request: StreamRequest) -> dict[str, Any]:
        """The arguments of a call of ``infer``."""
        inputs = {name: array[None] for name, array in request.inputs.items()}
        return {
            **tensors(inputs, self._outputs),
            "sequence_id": request.stream_id,
            "sequence_start": request.is_start,
            "sequence_end": request.is_end,
        }


def live_contract(answer: Any, url: str | Endpoint, model: str) -> StreamContract:
    """The contract in a served live model's configuration."""
    return contract_in(
        answer,
        StreamContract.from_parameters,
        f"Model {model!r} at {url} is not a live model of this version of muqrt",
        "Write one with: muqrt repository --stream",
    )


def rows_in(answer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hops in an answer: tags float32 (hops, tags), seconds float64 (hops, 2), and whether they
    are silent, bool (hops,)."""
    tags, seconds = answer.as_numpy(TAGS)[0], answer.as_numpy(SECONDS)[0]
    silent = answer.as_numpy(SILENT)
    return tags, seconds, np.zeros(len(tags), bool) if silent is None else silent[0]
