"""The front for gRPC: tokens and admission, and TLS with them. Messages pass as bytes, unread."""

from collections.abc import AsyncIterator
from typing import Any

from ...common.environment import import_extra
from ..contract.config import QUEUE_IS_FULL, STREAMS_ARE_FULL
from .admission import FULL, Admission, FullError
from .limits import FrontLimits
from .tokens import Tokens

_SERVICE = "/inference.GRPCInferenceService/"
_INFER, _STREAM = _SERVICE + "ModelInfer", _SERVICE + "ModelStreamInfer"
_HEALTH = {_SERVICE + name for name in ("ServerLive", "ServerReady", "ModelReady")}
_HEALTH |= {"/grpc.health.v1.Health/Check"}
# What serving needs; what rules the server is not here.
_OPEN = _HEALTH | {
    _SERVICE + name
    for name in ("ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer")
}
# Of a call's metadata, what is ours or gRPC's is not passed on.
_KEPT = ("authorization", "grpc-", "user-agent", "content-type", "te", "host")
_DRAIN_SECONDS = 10.0


class GrpcProxy:
    """A gRPC server before Triton's; every method of it belongs to one event loop.

    Args:
        upstream: host and port of Triton's gRPC.
        address: host and port to listen on; any free port when that is 0.
        limits: of messages and calls.
        admission: shared with HTTP. A bidirectional stream holds one slot while it is open.
        tokens: that are asked for, except for health.
        certificate, key: PEM, for TLS; plain when None.
    """

    def __init__(
        self,
        upstream: str,
        address: str,
        limits: FrontLimits,
        admission: Admission,
        tokens: Tokens | None,
        certificate: bytes | None = None,
        key: bytes | None = None,
    ) -> None:
        self._grpc = import_extra("server", "grpc", "grpc.aio")
        self._upstream, self._address = upstream, address
        self._limits, self._admission, self._tokens = limits, admission, tokens
        self._certificate, self._key = certificate, key

    async def start(self) -> int:
        """Listen; the port. Raises RuntimeError if it cannot be used."""
        aio = self._grpc.aio
        whole = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = aio.insecure_channel(self._upstream, options=whole)
        self._server = aio.server(
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

    async def stop(self) -> None:
        """Let calls in flight end, then close."""
        await self._server.stop(_DRAIN_SECONDS)
        await self._channel.close()

    async def call(self, method: str, request: bytes, context: Any) -> bytes:
        """Pass a unary call on."""
        client = await self._client(method, context)
        if method != _INFER:
            return await self._pass_on(method, request, context)
        try:
            async with self._admission.slot(client):
                return await self._pass_on(method, request, context)
        except FullError:
            await context.abort(self._grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)
            raise

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Pass a bidirectional stream on."""
        client = await self._client(_STREAM, context)
        try:
            async with self._admission.slot(client):
                call = self._channel.stream_stream(_STREAM)(
                    requests, timeout=context.time_remaining(), metadata=_metadata(context)
                )
                try:
                    async for response in call:
                        yield response
                except self._grpc.aio.AioRpcError as error:
                    await context.abort(error.code(), error.details())
                finally:
                    call.cancel()
        except FullError:
            await context.abort(self._grpc.StatusCode.RESOURCE_EXHAUSTED, FULL)

    async def _pass_on(self, method: str, request: bytes, context: Any) -> bytes:
        call = self._channel.unary_unary(method)(
            request, timeout=context.time_remaining(), metadata=_metadata(context)
        )
        try:
            return bytes(await call)
        except self._grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            if any(words in details for words in (STREAMS_ARE_FULL, QUEUE_IS_FULL)):
                code = self._grpc.StatusCode.RESOURCE_EXHAUSTED
            await context.abort(code, details)
            raise

    async def _client(self, method: str, context: Any) -> str:
        if self._tokens is None or method in _HEALTH:
            return str(context.peer()).rpartition(":")[0]
        given = [value for key, value in context.invocation_metadata() if key == "authorization"]
        client = self._tokens.client(given[0]) if len(given) == 1 else None
        if client is None:
            status = self._grpc.StatusCode.UNAUTHENTICATED
            await context.abort(status, "send a token of this server's: authorization: Bearer ...")
        return str(client)


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


def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(
        (key, value) for key, value in context.invocation_metadata() if not key.startswith(_KEPT)
    )
