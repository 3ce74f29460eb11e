"""Files of addresses: fetched where that is allowed, and never from inside the network."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from muqrt.gateway import fetch
from muqrt.gateway.limits import GatewayLimits
from muqrt.triton_repo.front.asgi import RefusedError

from .conftest import Start, ask

JSON = {"content_type": "application/json"}


class Files(BaseHTTPRequestHandler):
    """Serves some bytes, and redirections."""

    content: ClassVar[bytes] = b""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        target = {"/in": "http://127.0.0.2:{}/song.wav", "/file": "file:///etc/passwd"}
        if self.path in target:
            self.send_response(302)
            self.send_header("location", target[self.path].format(self.server.server_port))
            self.end_headers()
            return
        self.send_response(200 if self.path.endswith(".wav") else 404)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def files(clip: Path) -> Iterator[str]:
    """The address of a server with the clip."""
    Files.content, Files.asked = clip.read_bytes(), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def urls(*given: str) -> bytes:
    return json.dumps({"urls": given}).encode()


def test_files_of_addresses_are_answered_as_uploads(start: Start, files: str, clip: Path) -> None:
    gateway = start(allow_urls=True, allow_private_urls=True)
    status, found, _ = ask(gateway, body=urls(f"{files}/a%20song.wav"), **JSON)
    uploaded = ask(gateway, body=clip.read_bytes())[1]["results"][0]
    assert (status, found["results"]) == (200, [{**uploaded, "audio": "a song.wav"}])


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/other", 422, "cannot be fetched"),
        ("/file", 422, "cannot be fetched"),
        ("ftp://localhost/x", 422, "cannot be fetched"),
        ("file:///etc/passwd", 422, "cannot be fetched"),
        ("http://[", 422, "cannot be fetched"),
        ("http://nowhere.invalid/x", 422, "cannot be fetched"),
        ("http://localhost/\n", 400, "printable ASCII"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    path: str, status: int, reason: str, start: Start, files: str
) -> None:
    gateway = start(allow_urls=True, allow_private_urls=True)
    url = f"{files}{path}" if path.startswith("/") else path
    found = ask(gateway, body=urls(url), **JSON)
    assert (found[0], reason in found[1]["error"]) == (status, True), found
    assert "root:" not in str(found)


def test_a_file_that_is_too_long_is_not_fetched_to_its_end(start: Start, files: str) -> None:
    limits = GatewayLimits(upload_bytes=1 << 16)
    gateway = start(allow_urls=True, allow_private_urls=True, limits=limits)
    assert ask(gateway, body=urls(f"{files}/song.wav"), **JSON)[0] == 413


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
def test_nothing_is_fetched_from_this_machine(start: Start, files: str, host: str) -> None:
    gateway = start(allow_urls=True)
    url = files.replace("127.0.0.1", host)
    assert ask(gateway, body=urls(f"{url}/song.wav"), **JSON)[0] == 403
    assert Files.asked == []


def test_a_redirection_does_not_lead_inside(
    start: Start, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "is_outside", lambda number: number == "127.0.0.1")
    gateway = start(allow_urls=True)
    assert ask(gateway, body=urls(f"{files}/song.wav"), **JSON)[0] == 200
    assert ask(gateway, body=urls(f"{files}/in"), **JSON)[0] == 403
    assert Files.asked == ["/song.wav", "/in"]


@pytest.mark.parametrize(
    ("number", "outside"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # a cloud's metadata
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_inside_and_outside(number: str, outside: bool) -> None:
    assert fetch.is_outside(number) == outside


def test_a_head_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nA: ")
                while not ended.wait(0.02):
                    connection.sendall(b"a")

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        with pytest.raises(RefusedError, match="did not come in time"):
            fetch.Fetcher(1 << 20, 0.2, True).fetch(url, tmp_path / "a", threading.Event())
        ended.set()
