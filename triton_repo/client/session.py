"""A session whose engine is a Triton server: the same ``run``, over gRPC."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...common.retry import Retry
from ...errors import ServerError
from ...runtime.engines.session import Arrays, Session
from ..contract.artefact import Contract
from .connection import BACKOFF, BusyError, Connection, contract_in, tensors
from .endpoint import Endpoint

# A full-size model takes 14 s for four windows of 30 s on two cores, and requests may queue.
TIMEOUT_SECONDS = 300.0
_STATISTICS_SECONDS = 10.0
_RETRIES = 6
# Priority of the bulk queue, which other requests overtake, where a model has one.
_BULK = 2


@dataclass(frozen=True)
class Statistics:
    """A model's counters since the server started.

    ``inferences`` counts batch elements, ``executions`` runs of the model: their ratio is the
    mean batch. ``successes`` and ``failures`` count requests; ``queue_seconds`` is the time they
    waited.
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
        bulk: send requests to the model's bulk queue, which other requests overtake.

    Attributes:
        level: the encoder level of the features.

    Raises:
        ServerError: the server cannot be reached, or has no such model of muqrt's.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str | Endpoint = "localhost:8001",
        model: str = "muq",
        timeout_seconds: float = TIMEOUT_SECONDS,
        bulk: bool = False,
    ) -> None:
        self.model = model
        self._priority = _BULK if bulk else 0  # 0 is the model's default
        self.timeout_seconds = timeout_seconds
        self._connection = Connection(url)
        self._open = True
        contract = contract_in(
            self._connection.call("get_model_config", model, timeout_seconds),
            Contract.from_parameters,
            f"Model {model!r} at {url} was not written by this version of muqrt",
            "Write it with: muqrt repository",
        )
        super().__init__(contract.description)
        self.level = contract.level

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        if not self._open:
            raise ServerError("the session is closed; make another TritonSession.")
        start = time.monotonic()
        arguments = {**tensors(inputs, outputs), "priority": self._priority}

        def infer() -> Any:
            left = start + self.timeout_seconds - time.monotonic()
            return self._connection.call("infer", self.model, max(left, 1e-3), **arguments)

        retry = Retry(BACKOFF, self.timeout_seconds, _RETRIES, since=start)
        result = retry.call(infer, BusyError)
        found = {name: result.as_numpy(name) for name in outputs}
        if any(array is None for array in found.values()):
            raise ServerError(
                f"{self._connection.url} gave an empty answer: its response cache has kept a "
                "refusal, or a failure, of the same input. Send another, or restart the server."
            )
        return found

    def close(self) -> None:
        """Close the connection. Calling it twice is harmless."""
        self._open = False
        self._connection.close()


def statistics(url: str | Endpoint = "localhost:8001", model: str = "muq") -> Statistics:
    """The counters of a served model, all versions together.

    Raises:
        ServerError: the server cannot be reached, or has no such model.
    """
    with Connection(url) as connection:
        answer = connection.call("get_inference_statistics", model, _STATISTICS_SECONDS)
    versions = answer.model_stats
    return Statistics(
        inferences=sum(each.inference_count for each in versions),
        executions=sum(each.execution_count for each in versions),
        successes=sum(each.inference_stats.success.count for each in versions),
        failures=sum(each.inference_stats.fail.count for each in versions),
        queue_seconds=sum(each.inference_stats.queue.ns for each in versions) / 1e9,
    )
