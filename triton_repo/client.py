"""A session whose engine is a Triton server: the same ``run``, over gRPC."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np

from ..errors import ServerError
from ..runtime.session import Arrays, Session
from .config import Contract, parameters_of
from .extras import server_extra

_T = TypeVar("_T")

# A full-size model takes 14 s for four windows of 30 s on two cores, and others may be waiting.
TIMEOUT_SECONDS = 300.0
# gRPC's own limit, and the server's: a signed 32-bit length.
_MESSAGE_LIMIT_BYTES = 2**31 - 1
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC would wait up to two minutes before it tries a restarted server again.
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
# Triton has a different status for this in each of its calls.
_NO_SUCH_MODEL = ("unknown model", "is not available")
_RETRIES = 6
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Statistics:
    """A model's counters since the server started.

    ``inferences`` counts batch elements, ``executions`` runs of the model: their ratio is the
    mean batch. ``successes`` and ``failures`` count requests, ``queue_seconds`` their waiting.
    """

    inferences: int
    executions: int
    successes: int
    failures: int
    queue_seconds: float


class TritonSession(Session):
    """A model served by Triton. ``run`` may be called from several threads at once.

    Args:
        url: host and port of the server's gRPC endpoint.
        model: name of the model on the server.
        timeout_seconds: how long one ``run`` may take, retries included.

    Attributes:
        level: the encoder level that the features are of.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        model: str = "muq",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.model = model
        self.timeout_seconds = timeout_seconds
        self._connection = _Connection(url)
        self._open = True
        config = self._connection.call(
            "get_model_config", model, client_timeout=timeout_seconds, model_name=model
        ).config
        try:
            contract = Contract.from_parameters(parameters_of(config))
        except (KeyError, ValueError) as error:
            raise ServerError(
                f"Model {model!r} at {url} was not written by this version of muqrt ({error}). "
                "Write it with: muqrt repository"
            ) from error
        super().__init__(
            contract.inputs,
            contract.outputs,
            contract.framing,
            contract.artefact_sha256,
            contract.tagging,
            contract.tokenizer,
        )
        self.level = contract.level

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        if not self._open:
            raise ServerError("the session is closed; make another TritonSession.")
        grpc = server_extra("tritonclient.grpc")
        tensors = [_tensor(grpc, name, array) for name, array in inputs.items()]
        requested = [grpc.InferRequestedOutput(name) for name in outputs]
        deadline = time.monotonic() + self.timeout_seconds

        def infer() -> Any:
            return self._connection.call(
                "infer",
                self.model,
                client_timeout=max(deadline - time.monotonic(), 1e-3),
                model_name=self.model,
                inputs=tensors,
                outputs=requested,
            )

        result = _while_queue_is_full(infer, deadline)
        return {name: result.as_numpy(name) for name in outputs}

    def close(self) -> None:
        """Close the connection. Calling it twice is harmless."""
        self._open = False
        self._connection.close()


def statistics(url: str = "localhost:8001", model: str = "muq") -> Statistics:
    """The counters of a served model, all versions together.

    Raises:
        ServerError: the server cannot be reached, or has no such model.
    """
    connection = _Connection(url)
    try:
        answer = connection.call(
            "get_inference_statistics", model, client_timeout=10, model_name=model
        )
    finally:
        connection.close()
    versions = answer.model_stats
    return Statistics(
        inferences=sum(each.inference_count for each in versions),
        executions=sum(each.execution_count for each in versions),
        successes=sum(each.inference_stats.success.count for each in versions),
        failures=sum(each.inference_stats.fail.count for each in versions),
        queue_seconds=sum(each.inference_stats.queue.ns for each in versions) / 1e9,
    )


class _QueueFullError(ServerError):
    """The server rejected a request because too many were waiting."""


class _Connection:
    """A gRPC channel whose failures are ServerErrors in plain words."""

    def __init__(self, url: str) -> None:
        self.url = url.removeprefix("grpc://")
        if "/" in self.url:
            raise ServerError(f"{url!r} is not a gRPC address; write host:port, as localhost:8001.")
        grpc = server_extra("tritonclient.grpc")
        self._client = grpc.InferenceServerClient(self.url, channel_args=_CHANNEL_OPTIONS)

    def call(self, method: str, model: str, **arguments: Any) -> Any:
        """One call of tritonclient's; ``model`` is for the messages."""
        failure = server_extra("tritonclient.utils").InferenceServerException
        try:
            return getattr(self._client, method)(**arguments)
        except failure as error:
            self._explain(str(error.status()), str(error.message()), model, error)

    def close(self) -> None:
        self._client.close()

    def _explain(self, status: str, details: str, model: str, error: Exception) -> NoReturn:
        code = status.removeprefix("StatusCode.")
        if code == "NOT_FOUND" or any(words in details for words in _NO_SUCH_MODEL):
            message = f"{self.url} serves no model {model!r} ({details})."
        elif code == "DEADLINE_EXCEEDED":
            message = (
                f"{self.url} did not answer in time. Give it longer (--timeout-seconds), or "
                "send shorter or fewer waveforms."
            )
        elif code == "RESOURCE_EXHAUSTED":
            message = f"A message to or from {self.url} was too large ({details})."
        elif code != "UNAVAILABLE":
            message = f"{self.url} refused the request: {details} ({code})."
        elif "maximum queue size" in details:
            raise _QueueFullError(
                f"{self.url} has too many requests waiting for {model!r}. Try again later, send "
                "fewer at once, or write the repository with a longer queue."
            ) from error
        elif "timeout expired" in details.lower():
            message = f"{self.url} is overloaded: the request waited too long in its queue."
        else:
            message = (
                f"The Triton server at {self.url} cannot be reached, or went away ({details}). "
                "Is it running? Start one with: muqrt serve MODELS"
            )
        raise ServerError(message) from error


def _while_queue_is_full(attempt: Callable[[], _T], deadline: float) -> _T:
    """Try again, with growing and random pauses, while the server's queue is full."""
    for retry in range(_RETRIES):
        try:
            return attempt()
        except _QueueFullError:
            longest = min(_FIRST_PAUSE_SECONDS * 2**retry, _LONGEST_PAUSE_SECONDS)
            pause = random.uniform(longest / 2, longest)
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
    return attempt()


def _tensor(grpc: Any, name: str, array: np.ndarray) -> Any:
    if array.nbytes > _MESSAGE_LIMIT_BYTES:
        raise ServerError(
            f"{name} is {array.nbytes / 2**30:.1f} GiB; gRPC carries at most 2 GiB. Send shorter "
            "or fewer waveforms."
        )
    dtype = server_extra("tritonclient.utils").np_to_triton_dtype(array.dtype)
    tensor = grpc.InferInput(name, list(array.shape), dtype)
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor
