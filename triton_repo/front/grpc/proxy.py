"""The front for gRPC: TLS, tokens and admission. Messages pass as bytes, unread.

A client that gives up is not passed on: see ``GrpcUpstream``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import unquote

from ....common.environment import import_extra
from ...contract.config import QUEUE_IS_FULL, STREAMS_ARE_FULL
from ..admission import FULL, Admission
from ..asgi import RefusedError
from ..bodies import Buffered
from ..counters import FrontCounters
from ..keys import without_keys
from ..limits import FrontLimits
from ..own import Responder
from ..tokens import Tokens
from .protobuf import model_name, sequence_id
from .upstream import GrpcUpstream, Metadata

_SERVICE = "/inference.GRPCInferenceService/"
_INFER, _STREAM = _SERVICE + "ModelInfer", _SERVICE + "ModelStreamInfer"
_LIVE, _READY, _MODEL_READY = (
    _SERVICE + name for name in ("ServerLive", "ServerReady", "ModelReady")
)
_HEALTH = {_LIVE, _READY, _MODEL_READY, "/grpc.health.v1.Health/Check"}
# What serving needs; what rules the server is not here.
_OPEN = _HEALTH | {
    _SERVICE + name
    for name in ("ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer")
}
# Of a call's metadata, what is ours or gRPC's is not passed on.
_DROPPED_PREFIXES = ("grpc-",)
_DROPPED = {"authorization", "user-agent", "content-type", "te", "host"}
_NO_TOKEN = "send a token of this server's: authorization: Bearer ..."
# For the server to end the streams that stopping has half-closed.
_LAST_SECONDS = 1.0
# Longer messages of a stream are no errors.
_ERROR_BYTES = 64 << 10
# A model and an id.
_Sequence = tuple[str, int | bytes]


class GrpcProxy:
    """A gRPC server before Triton's; every method of it belongs to one event loop.

    Args:
        upstream: host and port of Triton's gRPC.
        address: host and port to listen on; any free port when that is 0.
        limits: of messages and calls.
        admission: shared with HTTP. A bidirectional stream holds one slot while it is open.
        buffered, counters: shared with HTTP.
        tokens: that are asked for, except for health.
        own: HTTP paths that the front answers itself; so does this where one says the same.
        certificate, key: PEM, for TLS; plain when None.
    """

    def __init__(
        self,
        upstream: str,
        address: str,
        limits: FrontLimits,
        admission: Admission,
        buffered: Buffered,
        counters: FrontCounters,
        tokens: Tokens | None,
        own: Mapping[str, Responder],
        certificate: bytes | None = None,
        key: bytes | None = None,
    ) -> None:
        self._grpc = import_extra("server", "grpc", "grpc.aio")
        self._upstream_address, self._address = upstream, address
        self._limits, self._admission, self._buffered = limits, admission, buffered
        self._counters, self._tokens, self._own = counters, tokens, own
        self._certificate, self._key = certificate, key
        # Unary requests of sequences that are with the server.
        self._under_way: dict[_Sequence, asyncio.Task[bytes]] = {}

    async def start(self) -> int:
        """Listen; the port. Raises RuntimeError if it cannot be used."""
        self._upstream = GrpcUpstream(self._grpc, self._upstream_address)
        self._server = self._grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._limits.grpc_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", self._limits.header_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 60_000),
            ],
            maximum_concurrent_rpcs=self._limits.connections,
        )
        self._server.add_generic_rpc_handlers((_Handlers(self._grpc, self),))
        if self._certificate is None:
            port = self._server.add_insecure_port(self._address)
        else:
            pair = [(self._key, self._certificate)]
            credentials = self._grpc.ssl_server_credentials(pair)
            port = self._server.add_secure_port(self._address, credentials)
        await self._server.start()
        return int(port)

    async def stop(self, seconds: float) -> None:
        """Let calls in flight end, for so long, then stop."""
        deadline = time.monotonic() + seconds
        await self._server.stop(seconds)
        await self._upstream.close(max(deadline - time.monotonic(), _LAST_SECONDS))

    async def call(self, method: str, request: bytes, context: Any) -> bytes:
        """Pass a unary call on, or answer it."""
        client = await self._client(method, context)
        own = self._own_answer(method, request)
        if own is not None:
            return own
        try:
            with ExitStack() as held:
                held.enter_context(self._buffered.holding(client, len(request)))
                sequence = _sequence(request) if method == _INFER else None
                if method == _INFER:
                    await self._turn(sequence)
                    await self._admission.take(client)
                    held.callback(self._admission.release, client)
                    await self._turn(sequence)
                elif self._upstream.unfinished >= self._limits.connections:
                    raise RefusedError(429, FULL)
                call = self._upstream.begin(method, request, _metadata(context))
                # From here on it is the call that holds it all, not its client.
                call.add_done_callback(partial(_close, held.pop_all()))
                if sequence is not None:
                    self._under_way[sequence] = call
                    call.add_done_callback(partial(self._forget, sequence))
            return await asyncio.shield(call)
        except RefusedError as refused:
            await self._refuse(refused, context)
            raise
        except self._grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            if any(words in details for words in (STREAMS_ARE_FULL, QUEUE_IS_FULL)):
                code = self._grpc.StatusCode.RESOURCE_EXHAUSTED
            await context.abort(code, _without_keys(details))
            raise

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Pass a bidirectional stream on."""
        client = await self._client(_STREAM, context)
        try:
            await self._admission.take(client)
            await self._upstream.stream(
                _STREAM,
                requests,
                _metadata(context),
                partial(self._buffered.holding, client),
                lambda answer: context.write(_without_keys_in(answer)),
                lambda: self._admission.release(client),
            )
        except RefusedError as refused:
            await self._refuse(refused, context)
        except self._grpc.aio.AioRpcError as error:
            await context.abort(error.code(), _without_keys(error.details() or ""))

    async def _turn(self, sequence: _Sequence | None) -> None:
        """Wait until no other request of the sequence is with the server, such as one whose client
        has given up on it: of two that it has at once, the server may begin with either."""
        while sequence is not None and (before := self._under_way.get(sequence)) is not None:
            await asyncio.wait({before})

    def _forget(self, sequence: _Sequence, call: "asyncio.Task[bytes]") -> None:
        if self._under_way.get(sequence) is call:
            del self._under_way[sequence]

    def _own_answer(self, method: str, request: bytes) -> bytes | None:
        """What the front itself knows of the server's health, as a message with one bool."""
        path = {_LIVE: "/v2/health/live", _READY: "/v2/health/ready"}.get(method)
        if method == _MODEL_READY:
            path = f"/v2/models/{model_name(request)}/ready"
        responder = self._own.get(path or "")
        if responder is None:
            return None
        return b"\x08\x01" if responder().status == 200 else b""

    async def _client(self, method: str, context: Any) -> str:
        if self._tokens is None or method in _HEALTH:
            return _host(context.peer())
        given = [value for key, value in context.invocation_metadata() if key == "authorization"]
        client = self._tokens.client(given[0]) if len(given) == 1 else None
        if client is None:
            await self._refuse(RefusedError(401, _NO_TOKEN), context)
        return str(client)

    async def _refuse(self, refused: RefusedError, context: Any) -> None:
        self._counters.refuse(refused.status)
        codes = self._grpc.StatusCode
        code = codes.UNAUTHENTICATED if refused.status == 401 else codes.RESOURCE_EXHAUSTED
        await context.abort(code, refused.reason)


class _Handlers:
    """Which of the proxy's methods handles which call, for gRPC."""

    def __init__(self, grpc: Any, proxy: GrpcProxy) -> None:
        self._grpc, self._proxy = grpc, proxy

    def service(self, details: Any) -> Any:
        """The handler of a call; None for what is not open."""
        method = details.method
        if method == _STREAM:
            return self._grpc.stream_stream_rpc_method_handler(self._proxy.stream)
        if method not in _OPEN:
            return None

        async def call(request: bytes, context: Any) -> bytes:
            return await self._proxy.call(method, request, context)

        return self._grpc.unary_unary_rpc_method_handler(call)


def _without_keys(details: str) -> str:
    return without_keys(details.encode()).decode()


def _without_keys_in(answer: bytes) -> bytes:
    return without_keys(answer) if len(answer) < _ERROR_BYTES else answer


def _sequence(request: bytes) -> _Sequence | None:
    found = sequence_id(request)
    return (model_name(request), found) if found else None


def _host(peer: str) -> str:
    """The address of a client, as HTTP's part of the front has it."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def _close(held: ExitStack, _: object) -> None:
    held.close()


def _metadata(context: Any) -> Metadata:
    return tuple(
        (key, value)
        for key, value in context.invocation_metadata()
        if key not in _DROPPED and not key.startswith(_DROPPED_PREFIXES)
    )
