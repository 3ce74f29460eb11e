"""A front before a test's server, for clients that cancel, run out of time or go away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from muqrt.triton_repo.front.front import Front, FrontConfig, Grpc
from muqrt.triton_repo.server.process import Server


@contextmanager
def fronted(server: Server, **settings: Any) -> Iterator[Front]:
    """Stand a front before a server's HTTP and gRPC: such a client may end Triton itself."""
    config = FrontConfig(grpc=Grpc(server.grpc_url), **settings)
    with Front(("127.0.0.1", server.http_port), config=config) as front:
        yield front
