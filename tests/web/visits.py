"""A page in Chromium, with what it asked for and what it complained about."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, expect

# Of each wait: the worker compiles 20 MB of WebAssembly on whatever cores are left.
PATIENCE_MS = 120_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Visit:
    """A page, the origins that it reached for, and its errors."""

    page: Page
    origins: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.origins.add(origin(request.url)))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, url: str) -> Page:
        """Go there and wait for the model."""
        self.page.goto(url)
        expect(self.page.get_by_role("status")).to_contain_text("Ready.")
        return self.page


def origin(url: str) -> str:
    """Scheme, host and port; blobs and data belong to the page itself."""
    scheme, _, rest = url.removeprefix("blob:").partition("://")
    return f"{scheme}://{rest.split('/')[0]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def static_host(folder: Path) -> Iterator[str]:
    """The folder on a plain server, without any header of its own; yields the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def drop(page: Page, *files: Path) -> None:
    """Drop files on the page as a hand would."""
    transfer = page.evaluate_handle("new DataTransfer()")
    for file in files:
        chosen = page.evaluate_handle("document.createElement('input')")
        chosen.evaluate("input => { input.type = 'file'; }")
        chosen.as_element().set_input_files(file)
        page.evaluate(
            "([transfer, input]) => transfer.items.add(input.files[0])", [transfer, chosen]
        )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
