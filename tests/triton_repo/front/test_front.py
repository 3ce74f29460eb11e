"""The front on a real socket, before a server that says what reached it."""

import asyncio
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from muqrt.errors import ServerError
from muqrt.triton_repo.front.admission import AdmissionConfig
from muqrt.triton_repo.front.front import Front, FrontConfig, Tls
from muqrt.triton_repo.front.limits import FrontLimits
from muqrt.triton_repo.front.own import Answer
from muqrt.triton_repo.front.tokens import Tokens
from muqrt.triton_repo.front.upstream import Upstream, UpstreamConnection

from ...until import until

httptools_impl = pytest.importorskip(
    "uvicorn.protocols.http.httptools_impl",
    reason="uvicorn is not installed: pip install 'muqrt[server]'",
)

INFER = "/v2/models/muq/infer"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]})
TOKENS = ("a" * 32, "b" * 32)


class Behind(BaseHTTPRequestHandler):
    """Answers with what it was sent; holds requests while ``gate`` is not set."""

    protocol_version = "HTTP/1.1"
    gate = threading.Event()

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        self.gate.wait(20)
        if self.path.endswith("/versions/9/infer"):
            return self._answer(500, f"no room in /muqrt-{'0a' * 16}-shm_1 now".encode())
        facts = {"path": self.path, "sha256": hashlib.sha256(body).hexdigest(), "length": length}
        answer = json.dumps({**facts, "headers": dict(self.headers)}).encode()
        self._answer(200, answer)

    def _answer(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


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


def ask(
    front: Front, method: str = "POST", path: str = INFER, body: Any = BODY, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named, encode_chunked="transfer-encoding" in named)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None, dict(answer.getheaders())


def raw(front: Front, data: bytes, seconds: float = 10.0) -> bytes:
    """What the front answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", front.port), timeout=seconds) as connection:
        found = b""
        try:
            connection.sendall(data)
            while more := connection.recv(65_536):
                found += more
        except ConnectionError:
            pass
        return found


@pytest.mark.parametrize("samples", [1, 24_000, 720_000])
def test_binary_data_arrive_as_they_were(fronted: Callable[..., Front], samples: int) -> None:
    front = fronted()
    data = bytes(range(256)) * (samples // 64) + b"\1\2\3\4" * (samples % 64)
    described = {"name": "x", "shape": [1, samples], "datatype": "FP32"}
    head = json.dumps(
        {"inputs": [{**described, "parameters": {"binary_data_size": len(data)}}]}
    ).encode()
    for pieces in (None, [head, data[:7], data[7:]]):
        more = {"transfer_encoding": "chunked"} if pieces else {}
        status, seen, _ = ask(
            front,
            body=iter(pieces) if pieces else head + data,
            inference_header_content_length=str(len(head)),
            **more,
        )
        assert (status, seen["length"]) == (200, len(head + data))
        assert seen["sha256"] == hashlib.sha256(head + data).hexdigest()


def test_only_what_the_server_needs_is_passed_on(fronted: Callable[..., Front]) -> None:
    form = "application/x-www-form-urlencoded"
    _, seen, _ = ask(fronted(), content_type=form, cookie="a=b", authorization="Bearer x")
    passed = {name.lower(): value for name, value in seen["headers"].items()}
    assert passed["content-type"] == "application/octet-stream"
    assert set(passed) == {"host", "content-type", "content-length", "accept-encoding"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/muq/config", 200),
        ("GET", "/v2/models/muq/versions/1/ready", 200),
        ("POST", "/v2/repository/index", 200),
        ("DELETE", INFER, 405),
        ("GET", "/v2/systemsharedmemory/status", 404),
        ("POST", "/v2/systemsharedmemory/region/x/register", 404),
        ("POST", "/v2/repository/models/muq/unload", 404),
        ("GET", "/v2/logging", 404),
        ("GET", "/v2/trace/setting", 404),
        ("GET", "/v2/models/muq/../../logging", 404),
        ("GET", "/v2/%6cogging", 404),
        ("POST", "/", 404),
    ],
)
def test_what_rules_the_server_is_not_reached(
    fronted: Callable[..., Front], method: str, path: str, status: int
) -> None:
    assert ask(fronted(), method, path, body=None)[0] == status


def test_it_is_reached_where_that_is_allowed(fronted: Callable[..., Front]) -> None:
    front = fronted(allowed=["logging"])
    assert ask(front, "GET", "/v2/logging", None)[0] == 200
    assert ask(front, "GET", "/v2/trace/setting", None)[0] == 404


SMALL = FrontLimits(
    header_bytes=2_000, headers=10, chunks=100, body_bytes=10_000, head_seconds=0.5, body_seconds=1
)
START = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (START + b"X: " + b"x" * 3_000, 431),
        (START + b"X: 1\r\n" * 20 + b"\r\n", 431),
        (START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nA\r\n" * 200, 413),
        (START + b"Transfer-Encoding: chunked\r\n\r\n1\r\nA\r\n", 408),
        (START + b"Content-Length: 10\r\n\r\n{", 408),
        (START, 408),
        (b"", 408),
        (b"\0\1\2\r\n\r\n", 400),
        (START + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (START + b"Content-Length: -1\r\n\r\n", 400),
    ],
)
def test_what_exceeds_a_limit_ends_the_connection(
    fronted: Callable[..., Front], data: bytes, status: int
) -> None:
    front = fronted(limits=SMALL)
    assert raw(front, data).startswith(b"HTTP/1.1 %d " % status)
    assert ask(front)[0] == 200


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, "x" * 20_000, 413),
        ({"transfer_encoding": "chunked"}, [b"x" * 20_000], 413),
        ({"content_encoding": "gzip"}, BODY, 415),
        ({"inference_header_content_length": "9999"}, BODY, 400),
        ({"inference_header_content_length": "-1"}, BODY, 400),
        ({}, '{"inputs": []}', 400),
    ],
)
def test_a_refused_request_leaves_the_connection_usable(
    fronted: Callable[..., Front], headers: dict[str, str], body: Any, status: int
) -> None:
    front = fronted(limits=SMALL)
    assert ask(front, body=body, **headers)[0] == status
    assert ask(front)[0] == 200


def test_a_front_that_has_ended_is_noticed(fronted: Callable[..., Front]) -> None:
    front = fronted()
    front.check()
    front.close()
    with pytest.raises(ServerError, match="front has ended"):
        front.check()


def test_too_many_connections_are_refused(fronted: Callable[..., Front]) -> None:
    front = fronted(limits=FrontLimits(connections=3))
    with (
        socket.create_connection(("127.0.0.1", front.port)),
        socket.create_connection(("127.0.0.1", front.port)),
        socket.create_connection(("127.0.0.1", front.port)),
    ):
        time.sleep(0.2)
        assert raw(front, b"").startswith(b"HTTP/1.1 503 ")


def test_beyond_the_slots_one_is_refused_at_once(fronted: Callable[..., Front]) -> None:
    front = fronted(admission=AdmissionConfig(running=1, waiting=1))
    Behind.gate.clear()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask(front)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: front.admission.waiting > 0)
    status, why, headers = ask(front)
    assert (status, headers["retry-after"]) == (429, "1")
    assert "too many requests" in why["error"]
    Behind.gate.set()
    for thread in threads:
        thread.join()
    assert found == [200, 200]
    assert ask(front)[0] == 200


def test_tokens_are_asked_for_except_by_probes(
    fronted: Callable[..., Front], tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"# people\n{TOKENS[0]}\n\n{TOKENS[1]}  # another\n")
    front = fronted(tokens=Tokens(tmp_path / "tokens"))
    assert [ask(front, authorization=f"Bearer {each}")[0] for each in TOKENS] == [200, 200]
    for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKENS[0]}", f"Bearer {TOKENS[0]}x"):
        status, _, headers = ask(front, authorization=wrong)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert ask(front, "GET", "/v2/health/ready", None)[0] == 200
    assert ask(front, "GET", "/v2/models/muq/config", None)[0] == 401


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no token"), ("short\n", "line 1.*16"), ("a b c d e f g h i j", "spaces")],
)
def test_a_file_of_tokens_that_protects_nothing_is_refused(
    text: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ServerError, match=why):
        Tokens(tmp_path / "tokens")


def test_it_answers_some_paths_itself(fronted: Callable[..., Front]) -> None:
    front = fronted(own={"/v2/health/ready": lambda: Answer(503)})
    assert ask(front, "GET", "/v2/health/ready", None)[0] == 503
    assert ask(front, "GET", "/v2/health/live", None)[0] == 200


def test_a_server_that_is_away_is_said_to_be() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Front(("127.0.0.1", unused.getsockname()[1])) as front:
            status, why, headers = ask(front)
            assert (status, headers["retry-after"]) == (503, "1")
            assert "cannot be reached" in why["error"]


@pytest.mark.parametrize("how", ["close", "shut_down"])
def test_a_server_that_goes_during_a_large_body(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paused, answered = threading.Event(), threading.Event()
    pause = UpstreamConnection.pause_writing

    def pause_writing(connection: UpstreamConnection) -> None:
        pause(connection)
        paused.set()

    monkeypatch.setattr(UpstreamConnection, "pause_writing", pause_writing)

    def go(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            paused.wait(20)
            if how == "shut_down":  # says that it is done, and reads nothing
                connection.shutdown(socket.SHUT_WR)
                answered.wait(20)

    size = 32 << 20
    described = {"name": "x", "shape": [size], "datatype": "UINT8"}
    head = json.dumps({"inputs": [described | {"parameters": {"binary_data_size": size}}]})
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        Front(("127.0.0.1", listening.getsockname()[1])) as front,
    ):
        server = threading.Thread(target=go, args=(listening,))
        server.start()
        body = head.encode() + bytes(size)
        status, why, _ = ask(front, body=body, inference_header_content_length=str(len(head)))
        answered.set()
        server.join()
    assert paused.is_set()
    assert (status, "went away" in why["error"]) == (503, True)


def test_tls_needs_the_authority(
    fronted: Callable[..., Front], certificate: tuple[Path, Path, Path]
) -> None:
    authority, chain, key = certificate
    front = fronted(tls=Tls(chain, key))
    context = ssl.create_default_context(cafile=authority)
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
        secure.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secure.recv(100).startswith(b"HTTP/1.1 200")
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("nothing")
    tls = Tls(tmp_path / "cert", tmp_path / "key")
    with (
        pytest.raises(ServerError, match="certificate"),
        Front(("127.0.0.1", 1), config=FrontConfig(tls=tls)),
    ):
        pass


def test_who_waits_too_long_is_told_and_the_request_counts_until_it_is_answered(
    fronted: Callable[..., Front],
) -> None:
    front = fronted(
        limits=FrontLimits(answer_seconds=0.2), admission=AdmissionConfig(running=1, waiting=0)
    )
    Behind.gate.clear()
    status, why, _ = ask(front)
    assert (status, why["error"]) == (504, "the model server did not answer in time")
    assert front.admission.running == 1
    assert ask(front)[0] == 429
    Behind.gate.set()
    until(lambda: front.admission.running == 0)
    assert ask(front)[0] == 200


def test_no_error_has_the_name_of_shared_memory(fronted: Callable[..., Front]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fronted().port, timeout=20)
    connection.request("POST", "/v2/models/muq/versions/9/infer", BODY)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (500, b"no room in " + b"x" * 45 + b" now")
    connection.close()


def test_what_is_refused_is_counted_by_its_reason(fronted: Callable[..., Front]) -> None:
    front = fronted(limits=SMALL)
    assert ask(front)[0] == 200
    assert ask(front, body='{"inputs": []}')[0] == 400
    assert ask(front, path="/v2/logging")[0] == 404
    assert raw(front, b"\0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    counts = dict(
        line.rsplit(" ", 1) for line in front.metrics_text().splitlines() if line[0] != "#"
    )
    refused = {name: int(count) for name, count in counts.items() if "refused" in name}
    assert refused.pop('muqrt_front_refused_total{reason="malformed"}') == 2
    assert refused.pop('muqrt_front_refused_total{reason="path"}') == 1
    assert set(refused.values()) == {0}
    assert counts["muqrt_front_admitted_total"] == "2"
    assert counts["muqrt_front_running"] == counts["muqrt_front_waiting"] == "0"


def test_a_client_that_leaves_keeps_its_slot_until_the_answer(
    fronted: Callable[..., Front],
) -> None:
    front = fronted(admission=AdmissionConfig(running=1, waiting=1))
    Behind.gate.clear()
    request = START + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY.encode()
    with socket.create_connection(("127.0.0.1", front.port)) as leaving:
        leaving.sendall(request)
        until(lambda: front.admission.running == 1)
        with socket.create_connection(("127.0.0.1", front.port)) as waiting:
            waiting.sendall(request)
            until(lambda: front.admission.waiting == 1)
        until(lambda: front.admission.waiting == 0)  # who leaves while it waits is not computed
    assert front.admission.running == 1
    Behind.gate.set()
    until(lambda: front.admission.running == 0)


@pytest.mark.parametrize("size", [300_000, 1_000_000])
def test_requests_follow_each_other_on_a_connection_that_large_bodies_pass(
    fronted: Callable[..., Front], size: int
) -> None:
    # One after another without waiting for answers, in pieces that end anywhere.
    front = fronted()
    requests = [binary_request(size, number) for number in range(3)]
    bodies, sent = [body for _, body in requests], b"".join(map(b"".join, requests))
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        writer = threading.Thread(
            target=lambda: [
                connection.sendall(sent[at : at + 77_777]) for at in range(0, len(sent), 77_777)
            ]
        )
        writer.start()
        assert_answered(connection, bodies)
        writer.join()


def assert_answered(connection: socket.socket, bodies: Sequence[bytes]) -> None:
    """Each of these bodies has come to the server, whole and in turn."""
    with connection.makefile("rb") as reader:
        for body in bodies:
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            lines = iter(reader.readline, b"\r\n")
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
            seen = json.loads(reader.read(int(headers["content-length"])))
            assert seen["sha256"] == hashlib.sha256(body).hexdigest()


def binary_request(size: int, fill: int) -> tuple[bytes, bytes]:
    """A request's head, and its body of JSON and so many bytes."""
    described = {"name": "x", "shape": [size], "datatype": "UINT8"}
    parameters = {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [described | parameters]}).encode()
    lines = START + b"Inference-Header-Content-Length: %d\r\n" % len(head)
    body = head + bytes([fill]) * size
    return lines + b"Content-Length: %d\r\n\r\n" % len(body), body


def test_no_body_goes_where_another_request_s_is_awaited(
    fronted: Callable[..., Front], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next request comes while the front still connects to the server for the first.
    heads, asked, connected = [], threading.Event(), threading.Event()
    take, complete = Upstream.take, httptools_impl.HttpToolsProtocol.on_headers_complete

    async def take_late(upstream: Upstream) -> UpstreamConnection:
        asked.set()
        while not connected.is_set():
            await asyncio.sleep(0.001)
        return await take(upstream)

    def on_headers_complete(protocol: Any) -> None:
        complete(protocol)
        heads.append(protocol.cycle)

    monkeypatch.setattr(Upstream, "take", take_late)
    monkeypatch.setattr(
        httptools_impl.HttpToolsProtocol, "on_headers_complete", on_headers_complete
    )
    (first, body), (second, other) = binary_request(9, 1), binary_request(10**6, 2)
    with socket.create_connection(("127.0.0.1", fronted().port), timeout=20) as connection:
        connection.sendall(first + body[:-5])
        assert asked.wait(20)
        connection.sendall(body[-5:] + second)
        until(lambda: len(heads) == 2)
        connected.set()
        connection.sendall(other)
        assert_answered(connection, [body, other])
