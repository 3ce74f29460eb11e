"""gRPC to a Triton server; failures are ServerErrors that say what to do."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ...common.closing import Closing
from ...common.environment import import_extra
from ...common.retry import Backoff
from ...errors import ServerError
from ..contract.config import QUEUE_IS_FULL, STREAMS_ARE_FULL, parameters_of
from .endpoint import TOKEN_VARIABLE, Endpoint, endpoint

_Contract = TypeVar("_Contract")

# gRPC's own limit, and the server's: a signed 32-bit length.
_MESSAGE_LIMIT_BYTES = 2**31 - 1
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits up to two minutes before it tries a restarted server again.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # By default clients of one process share a connection, and so one replica of a server.
    ("grpc.use_local_subchannel_pool", 1),
]
# Triton's own.
GRPC_PORT = 8001
# A host's name or IPv4 address, or an IPv6 address in brackets; then a port.
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]/:\s]+)(:(?P<port>[0-9]{1,5}))?")
# Triton's status for this differs between its calls.
_NO_SUCH_MODEL = ("unknown model", "is not available")
# The served model's message for a stream that has expired, and Triton's for an unknown one.
_NO_SUCH_STREAM = ("no such stream", "must specify the START flag")
# Of a model whose process has died: until that is noticed, and while it is loaded again.
_RESTARTING = ("is not healthy", "has no available versions")
# The front's words when there is no room.
_FULL = ("too many requests at once", "too much audio on its way")
# What to do for a model that commands ask for by default.
_HOW_TO_WRITE = {
    "muq": " Write it with: muqrt repository BUNDLE -o MODELS",
    "muq_stream": " Write it with: muqrt repository BUNDLE -o MODELS --stream",
    "zeroshot": " Write it from the bundle of a MuQ-MuLan with: muqrt repository BUNDLE -o MODELS",
}
# Between attempts while a server is full or away.
BACKOFF = Backoff(first_seconds=0.1, longest_seconds=2.0)


class BusyError(ServerError):
    """The server is too busy and did nothing; the request may be sent again."""


class GoneError(ServerError):
    """The server cannot be reached, or the connection broke during an answer."""


class LostStreamError(ServerError):
    """The server no longer has the stream: it expired, or the server was replaced."""


class Connection(Closing):
    """A gRPC channel; a context manager.

    Args:
        url: host and port of the server's gRPC endpoint, or an Endpoint.

    Raises:
        ServerError: not the address of a gRPC endpoint, or its token would be sent in the open.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(self, url: str | Endpoint) -> None:
        grpc = import_extra("server", "tritonclient.grpc")
        self.url, self._headers, self._client = _opened(grpc, url)

    def call(self, method: str, model: str, timeout_seconds: float, **arguments: Any) -> Any:
        """Call a method of tritonclient's client.

        Args:
            method: its name.
            model: the model on the server.
            timeout_seconds: how long the answer may take.
            arguments: the method's others.

        Raises:
            ServerError: the call failed; BusyError, GoneError or LostStreamError if a retry may
                help.
        """
        with _failures_explained(self.url, model):
            return getattr(self._client, method)(
                model_name=model,
                client_timeout=timeout_seconds,
                headers=self._headers,
                **arguments,
            )

    def close(self) -> None:
        """Close the channel. Calling it twice is harmless."""
        self._client.close()


class AsyncConnection:
    """``Connection`` for asyncio; create it inside a running event loop."""

    def __init__(self, url: str | Endpoint) -> None:
        grpc = import_extra("server", "tritonclient.grpc.aio")
        self.url, self._headers, self._client = _opened(grpc, url)

    async def call(self, method: str, model: str, timeout_seconds: float, **arguments: Any) -> Any:
        """Call a method of tritonclient's client, like ``Connection.call``."""
        with _failures_explained(self.url, model):
            return await getattr(self._client, method)(
                model_name=model,
                client_timeout=timeout_seconds,
                headers=self._headers,
                **arguments,
            )

    async def is_ready(self, model: str, timeout_seconds: float) -> bool:
        """Whether the server and the model say that they are ready."""
        with _failures_explained(self.url, model):
            ready = await self._client.is_server_ready(
                client_timeout=timeout_seconds, headers=self._headers
            )
            return ready and await self._client.is_model_ready(
                model, client_timeout=timeout_seconds, headers=self._headers
            )

    async def close(self) -> None:
        """Close the channel. Calling it twice is harmless."""
        await self._client.close()


def _opened(grpc: Any, url: str | Endpoint) -> tuple[str, dict[str, str], Any]:
    """The address of an endpoint, what its calls carry, and a client of tritonclient's for it."""
    server = endpoint(url)
    address = host_and_port(server.address)
    server.check(address)
    client = grpc.InferenceServerClient(
        address,
        ssl=server.is_secure,
        root_certificates=None if server.ca is None else str(server.ca),
        channel_args=_CHANNEL_OPTIONS,
    )
    return address, server.headers, client


def host_and_port(url: str) -> str:
    """The address in the form that gRPC takes; raises ServerError for any other.

    Without a port it is Triton's own, not the port that gRPC would try, 443.
    """
    address = url.removeprefix("grpc://")
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ServerError(f"{address!r} is not a gRPC address; write host:port (localhost:8001).")
    return address if match["port"] else f"{address}:{GRPC_PORT}"


@contextmanager
def _failures_explained(url: str, model: str) -> Iterator[None]:
    failure = import_extra("server", "tritonclient.utils").InferenceServerException
    try:
        yield
    except failure as error:
        raise explained(error, url, model) from error


def explained(error: Any, url: str, model: str) -> ServerError:
    """The ServerError that an InferenceServerException means."""
    code, details = str(error.status()).removeprefix("StatusCode."), str(error.message())
    if any(words in details for words in _NO_SUCH_STREAM):
        return LostStreamError(f"{url} no longer has the stream ({details}).")
    if any(words in details for words in _RESTARTING):
        return GoneError(
            f"Model {model!r} at {url} has died ({details}). muqrt serve loads it again; try again "
            "in a few seconds."
        )
    if code == "NOT_FOUND" or any(words in details for words in _NO_SUCH_MODEL):
        cure = _HOW_TO_WRITE.get(model, "")
        return ServerError(f"{url} serves no model {model!r} ({details}).{cure}")
    if code == "DEADLINE_EXCEEDED":
        return ServerError(
            f"{url} did not answer in time. Give it longer (--timeout-seconds), or send shorter "
            "or fewer waveforms."
        )
    if code == "UNAUTHENTICATED":
        return ServerError(f"{url} wants a token ({details}). Set --token or {TOKEN_VARIABLE}.")
    if QUEUE_IS_FULL in details:
        return BusyError(
            f"{url} has too many requests waiting for {model!r}. Try again later, send fewer at "
            "once, or write the repository with a longer queue."
        )
    if STREAMS_ARE_FULL in details:
        return BusyError(f"{url} takes no more live streams now ({details}). Try again later.")
    if code == "RESOURCE_EXHAUSTED" and any(words in details for words in _FULL):
        return BusyError(f"{url} takes no more now ({details}). Try again later.")
    if code == "RESOURCE_EXHAUSTED":
        return ServerError(f"A message to or from {url} was too large ({details}).")
    if code != "UNAVAILABLE":
        return ServerError(f"{url} refused the request: {details} ({code}).")
    if "timeout expired" in details.lower():
        return ServerError(f"{url} is overloaded: the request waited too long in its queue.")
    return GoneError(
        f"The Triton server at {url} cannot be reached, or went away ({details}). Is it running? "
        "Start one with: muqrt serve MODELS"
    )


def contract_in(
    answer: Any, read: Callable[[Mapping[str, str]], _Contract], problem: str, cure: str
) -> _Contract:
    """The contract in the answer to ``get_model_config``.

    Args:
        read: reads it from the model's parameters; raises KeyError or ValueError if it cannot.
        problem, cure: sentences for the ServerError if it cannot: what is wrong, and what to do.
    """
    try:
        return read(parameters_of(answer.config))
    except (KeyError, ValueError) as error:
        raise ServerError(f"{problem} ({error}). {cure}") from error


def tensors(inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, Any]:
    """Inputs and requested outputs as arguments of ``infer``."""
    grpc = import_extra("server", "tritonclient.grpc")
    return {
        "inputs": [as_tensor(name, array) for name, array in inputs.items()],
        "outputs": [grpc.InferRequestedOutput(name) for name in outputs],
    }


def as_tensor(name: str, array: np.ndarray) -> Any:
    """An array as an input of tritonclient; raises ServerError if it is too large for gRPC."""
    if array.nbytes > _MESSAGE_LIMIT_BYTES:
        raise ServerError(
            f"{name} is {array.nbytes / 2**30:.1f} GiB; gRPC carries at most 2 GiB. Send shorter "
            "or fewer waveforms."
        )
    dtype = import_extra("server", "tritonclient.utils").np_to_triton_dtype(array.dtype)
    tensor = import_extra("server", "tritonclient.grpc").InferInput(name, list(array.shape), dtype)
    tensor.set_data_from_numpy(np.ascontiguousarray(array))
    return tensor
