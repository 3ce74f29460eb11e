"""A front on a real socket."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from muqrt.triton_repo.front.front import Front, FrontConfig

from .behind import Behind


@pytest.fixture
def fronted() -> Iterator[Callable[..., Front]]:
    """Starts a front with these settings before a server."""
    Behind.gate.set()
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    behind.daemon_threads = True
    threading.Thread(target=behind.serve_forever, args=(0.02,), daemon=True).start()
    fronts: list[Front] = []

    def start(**settings: Any) -> Front:
        front = Front(("127.0.0.1", behind.server_port), config=FrontConfig(**settings))
        fronts.append(front)
        return front.__enter__()

    yield start
    Behind.gate.set()
    for front in fronts:
        front.close()
    behind.shutdown()
