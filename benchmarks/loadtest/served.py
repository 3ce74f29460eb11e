"""The served live model, request by request: a client that may misbehave."""

import asyncio
import secrets
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ServerError
from ...runtime.bundle.tagging import TAGS
from ...runtime.streaming.stream import SlidingConfig
from ...triton_repo.client.connection import AsyncConnection, as_tensor
from ...triton_repo.client.streaming import config_of, contract_in
from ...triton_repo.contract.stream import CHUNK_INDEX, PCM, SECONDS
from ...triton_repo.extras import server_extra

if TYPE_CHECKING:
    from typing_extensions import Self

_PROBE_SECONDS = 2.0  # for the server to say that it is ready
# How long after it was sent a request is abandoned: it has left, and has hardly been answered.
_ABANDON_SECONDS = 0.005


class ServedStreams:
    """A server's live model. An asynchronous context manager: it connects when it is entered.

    Args:
        url: host and port of the server's gRPC endpoint.
        model: name of the model on the server.
        timeout_seconds: how long one answer may take.

    Attributes:
        sliding: when hops come.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """

    sliding: SlidingConfig
    _connection: AsyncConnection

    def __init__(self, url: str, model: str, timeout_seconds: float) -> None:
        self._url, self._model, self._timeout_seconds = url, model, timeout_seconds

    async def __aenter__(self) -> "Self":
        self._connection = AsyncConnection(self._url)
        try:
            request = config_of(self._model, self._timeout_seconds)
            answer = await self._connection.call("get_model_config", self._model, **request)
            _, self.sliding = contract_in(answer, self._url, self._model)
        except BaseException:
            await self._connection.close()
            raise
        return self

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
        grpc = server_extra("tritonclient.grpc")
        answer = await self._connection.call(
            "infer",
            self._model,
            model_name=self._model,
            inputs=[
                as_tensor(PCM, samples[None]),
                as_tensor(CHUNK_INDEX, np.array([[index]], np.int64)),
            ],
            outputs=[grpc.InferRequestedOutput(name) for name in (TAGS, SECONDS)],
            sequence_id=sequence,
            sequence_start=index == 0,
            sequence_end=is_last,
            client_timeout=self._timeout_seconds,
        )
        ends: list[float] = answer.as_numpy(SECONDS)[0, :, 1].tolist()
        return ends

    async def abandon(self, sequence: int, index: int, samples: np.ndarray) -> None:
        """Send a chunk and go away before it is answered, as a client whose connection breaks."""
        request = asyncio.create_task(self.send(sequence, index, samples))
        await asyncio.sleep(_ABANDON_SECONDS)
        request.cancel()
        with suppress(asyncio.CancelledError, ServerError):
            await request

    async def ready(self) -> bool:
        """Whether the server and the model say that they are ready."""
        call, model = self._connection.call, self._model
        try:
            is_ready = await call("is_server_ready", model, client_timeout=_PROBE_SECONDS)
            return bool(
                is_ready
                and await call(
                    "is_model_ready", model, model_name=model, client_timeout=_PROBE_SECONDS
                )
            )
        except ServerError:
            return False

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()


def new_sequence() -> int:
    """A correlation id that nobody else uses."""
    return secrets.randbits(63) + 1  # 0 is no sequence for Triton
