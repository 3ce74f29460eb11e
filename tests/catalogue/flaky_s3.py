"""An S3 server on loopback that fails and dawdles, by count, not by chance."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class FlakyApp:
    """Answers every ``fail_every``-th request with a 500, and every ``slow_every``-th download
    after a while.

    Attributes:
        requests: how many there were, by method; ``failed`` and ``slow`` among them.
    """

    app: App
    fail_every: int = 0
    slow_every: int = 0
    slow_seconds: float = 0.5
    requests: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        with self._lock:
            self.requests[method] += 1
            number = self.requests.total() - self.requests["failed"] - self.requests["slow"]
            fails = bool(self.fail_every) and number % self.fail_every == 0
            is_slow = method == "GET" and bool(self.slow_every) and number % self.slow_every == 0
            self.requests["failed"] += fails
            self.requests["slow"] += is_slow
        if fails:
            # Read, or the connection could not be used again.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InternalError</Code></Error>"]
        if is_slow:
            time.sleep(self.slow_seconds)
        return self.app(environ, start)


@contextmanager
def s3_server() -> Iterator[tuple[str, FlakyApp]]:
    """Its address, and what can be told to fail."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    flaky = FlakyApp(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, flaky, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        urlopen(Request(f"{address}/moto-api/reset", method="POST")).close()
        yield address, flaky
    finally:
        server.shutdown()
        thread.join()
