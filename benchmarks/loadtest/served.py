"""The served live model, request by request, for clients that misbehave."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np

from ...errors import ServerError
from ...runtime.bundle.tagging import TAGS
from ...runtime.streaming.stream import SlidingConfig
from ...triton_repo.client.connection import AsyncConnection, tensors
from ...triton_repo.client.endpoint import Endpoint
from ...triton_repo.client.live_model import live_contract
from ...triton_repo.contract.stream import CHUNK_INDEX, PCM, SECONDS

_PROBE_SECONDS = 2.0  # for the server to say that it is ready
# How long after it was sent a request is abandoned: it has left, and has hardly been answered.
_ABANDON_SECONDS = 0.005


@asynccontextmanager
async def connected(
    url: Endpoint, model: str, timeout_seconds: float
) -> "AsyncIterator[ServedStreams]":
    """Connect to a server's live model.

    Args:
        url: the server's gRPC endpoint.
        model: name of the model on the server.
        timeout_seconds: how long one answer may take.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """
    connection = AsyncConnection(url)
    try:
        answer = await connection.call("get_model_config", model, timeout_seconds)
        sliding = live_contract(answer, url, model).sliding
        yield ServedStreams(connection, model, timeout_seconds, sliding)
    finally:
        await connection.close()


class ServedStreams:
    """A server's live model.

    Args:
        connection: to the server.
        model: name of the model on the server.
        timeout_seconds: how long one answer may take.
        sliding: when hops come.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        model: str,
        timeout_seconds: float,
        sliding: SlidingConfig,
    ) -> None:
        self._connection, self._model = connection, model
        self._timeout_seconds, self.sliding = timeout_seconds, sliding

    async def send(
        self, sequence: int, index: int, samples: np.ndarray, is_last: bool = False
    ) -> list[float]:
        """Send a stream's next chunk.

        Args:
            sequence: the stream's correlation id.
            index: 0 for its first chunk, 1 for the next, and so on.
            samples: int16 (samples,) at the model's rate.
            is_last: whether it is sent with END.

        Returns:
            Where in the stream, in seconds, each hop ended that the chunk was answered with.

        Raises:
            BusyError: too many streams are live. ServerError: anything else.
        """
        inputs = {PCM: samples[None], CHUNK_INDEX: np.array([[index]], np.int64)}
        answer = await self._connection.call(
            "infer",
            self._model,
            self._timeout_seconds,
            **tensors(inputs, (TAGS, SECONDS)),
            sequence_id=sequence,
            sequence_start=index == 0,
            sequence_end=is_last,
        )
        ends: list[float] = answer.as_numpy(SECONDS)[0, :, 1].tolist()
        return ends

    async def abandon(self, sequence: int, index: int, samples: np.ndarray) -> None:
        """Send a chunk and disconnect before it is answered, like a client without a network."""
        request = asyncio.create_task(self.send(sequence, index, samples))
        await asyncio.sleep(_ABANDON_SECONDS)
        request.cancel()
        with suppress(asyncio.CancelledError, ServerError):
            await request

    async def ready(self) -> bool:
        """Whether the server and the model say that they are ready."""
        try:
            return await self._connection.is_ready(self._model, _PROBE_SECONDS)
        except ServerError:
            return False


def new_sequence() -> int:
    """A random correlation id, so that no other client uses the same."""
    return secrets.randbits(63) + 1  # 0 is no sequence for Triton
