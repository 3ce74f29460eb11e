"""The front: an HTTP server, and where it is needed a gRPC server, before Triton's."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...common.network import in_brackets, local_host
from ..server.ports import port_error
from .admission import Admission, AdmissionConfig, Admitted
from .asgi import App
from .bodies import BoundedBodies, Buffered
from .counters import FrontCounters
from .grpc.proxy import GrpcProxy
from .http.checked import CheckedInference
from .http.forward import Forward
from .http.paths import OpenPaths, is_health, is_infer
from .http.upstream import Upstream
from .limits import FrontLimits
from .own import Counted, OwnEndpoints, Responder
from .server import Tls, WebServer
from .tokens import BearerToken, Tokens


@dataclass(frozen=True)
class Grpc:
    """Where Triton's gRPC is, as host:port, and the port to listen on; any free one when 0."""

    upstream: str
    port: int = 0


@dataclass(frozen=True)
class FrontConfig:
    """How the front treats requests.

    Attributes:
        limits: of connections and requests.
        admission: of inference requests.
        tokens: that are asked for; none when None.
        tls: the certificate; plain HTTP when None.
        allowed: what rules the server and may be reached: of shared-memory, model-repository,
            trace and logging.
        own: paths that the front answers itself.
        grpc: that gRPC goes through the front, too; else it is Triton's own that clients reach.
        drain_seconds: for requests in flight when the front stops, HTTP's and gRPC's at once.
    """

    limits: FrontLimits = field(default_factory=FrontLimits)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    tokens: Tokens | None = None
    tls: Tls | None = None
    allowed: Collection[str] = ()
    own: Mapping[str, Responder] = field(default_factory=dict)
    grpc: Grpc | None = None
    drain_seconds: float = 10.0


def application(
    config: FrontConfig,
    upstream: Upstream,
    admission: Admission,
    buffered: Buffered,
    counters: FrontCounters,
) -> App:
    """The front as an ASGI application: its parts, from the innermost out."""
    app: App = Forward(upstream, config.limits)
    app = CheckedInference(app, config.limits)
    app = BoundedBodies(app, config.limits, buffered)
    app = Admitted(app, admission, is_infer)
    app = BearerToken(app, config.tokens, is_health)
    app = OpenPaths(app, config.allowed)
    app = Counted(app, counters)
    return OwnEndpoints(app, config.own)


class Front(WebServer):
    """An HTTP server before Triton's, in a thread of its own; a context manager.

    Args:
        upstream: host and port of Triton's HTTP.
        address: the interface to listen on.
        port: where to listen; a free port when 0.
        config: how it treats requests.

    Attributes:
        port: where it listens.
        grpc_port: where it listens for gRPC; 0 if it does not.

    Raises:
        ServerError: a port or the certificate cannot be used.
        MissingDependencyError: uvicorn is not installed.
    """

    kind = "HTTP front"

    def __init__(
        self,
        upstream: tuple[str, int],
        address: str = "127.0.0.1",
        port: int = 0,
        config: FrontConfig | None = None,
    ) -> None:
        self.config = config = config or FrontConfig()
        super().__init__(address, port, config.limits, config.tls, config.drain_seconds)
        self._upstream, self.grpc_port = upstream, 0

    def _application(self) -> tuple[App, FrontCounters, dict[str, Any]]:
        self.admission = Admission(self.config.admission)
        self._buffered, self._counters = Buffered(self.config.limits), FrontCounters()
        shared = (self.admission, self._buffered, self._counters)
        app = application(self.config, Upstream(*self._upstream), *shared)
        return app, self._counters, {}

    @property
    def grpc_url(self) -> str | None:
        """``host:port`` for ``TritonSession``; None where gRPC does not go through it."""
        return f"{local_host(self._address)}:{self.grpc_port}" if self.grpc_port else None

    def metrics_text(self) -> str:
        """What it has admitted and refused, in the text format of Prometheus."""
        return self._counters.metrics_text(self.admission)

    async def _serve(self) -> None:
        config = self.config
        if config.grpc is None:
            return await super()._serve()
        tls = config.tls
        pair = (tls.certificate.read_bytes(), tls.key.read_bytes()) if tls else ()
        proxy = GrpcProxy(
            config.grpc.upstream,
            f"{in_brackets(self._address)}:{config.grpc.port}",
            config.limits,
            self.admission,
            self._buffered,
            self._counters,
            config.tokens,
            config.own,
            *pair,
        )
        try:
            self.grpc_port = await proxy.start()
        except RuntimeError as error:
            raise port_error("grpc", self._address, config.grpc.port, error) from error
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            await proxy.stop(config.drain_seconds)
        finally:
            await serving
