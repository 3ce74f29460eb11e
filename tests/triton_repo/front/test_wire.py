"""What a connection may do to the front, and what it may not."""

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partialmethod
from typing import Any

import pytest

from muqrt.triton_repo.front.front import Front
from muqrt.triton_repo.front.http.upstream import Upstream, UpstreamConnection
from muqrt.triton_repo.front.limits import FrontLimits

from ...until import until
from .behind import BODY, SMALL, START, Behind, ask, assert_answered, binary_request, raw

httptools_impl = pytest.importorskip(
    "uvicorn.protocols.http.httptools_impl",
    reason="uvicorn is not installed: pip install 'muqrt[server]'",
)

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\nInference-Header-Content-Length: 0\r\n"


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
        (START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (START + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n{", 400),
        (START + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n{", 400),
        (START + b"Content-Length: -1\r\n\r\n", 400),
        (START + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(LIVE) + LIVE, 400),
    ],
)
def test_what_exceeds_a_limit_ends_the_connection(
    fronted: Callable[..., Front], data: bytes, status: int
) -> None:
    front = fronted(limits=SMALL)
    assert raw(front, data).startswith(b"HTTP/1.1 %d " % status)
    assert ask(front)[0] == 200


@pytest.mark.parametrize(("longest_seconds", "status"), [(600.0, b"200"), (0.5, b"408")])
def test_what_comes_prolongs_the_time_for_a_body(
    fronted: Callable[..., Front], longest_seconds: float, status: bytes
) -> None:
    times = {"body_bytes_per_second": 0.1, "longest_body_seconds": longest_seconds}
    front = fronted(limits=replace(SMALL, **times))
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        head = START + b"Content-Length: %d\r\n\r\n" % len(BODY)
        connection.sendall(head + BODY.encode()[:-1])
        if status == b"200":
            time.sleep(SMALL.body_seconds * 1.2)  # its time without what has come
            connection.sendall(BODY.encode()[-1:])
        assert connection.recv(100).startswith(b"HTTP/1.1 %s " % status)


def test_headers_after_a_body_are_bounded(fronted: Callable[..., Front]) -> None:
    front = fronted(limits=replace(SMALL, body_seconds=60))
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        expect = b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(START + expect + b"0\r\nX: x")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x" * 3_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("following", [b"\0\r\n\r\n", START + b"Content-Length: 10\r\n\r\n{"])
def test_no_request_gets_the_answer_to_the_next(
    fronted: Callable[..., Front], following: bytes
) -> None:
    front = fronted(limits=SMALL)
    Behind.gate.clear()
    first = START + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY.encode()
    assert raw(front, first + following) == b""


def test_a_client_that_takes_no_answer_loses_it(fronted: Callable[..., Front]) -> None:
    front = fronted(limits=SMALL)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", front.port))
        path = b"/versions/8/infer HTTP/1.1"
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        connection.sendall(START.replace(b"/infer HTTP/1.1", path) + length + BODY.encode())
        until(lambda: front.admission.admitted == 1)
        until(lambda: front.admission.running == 0)


@pytest.fixture
def keep_alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets for how long a connection on which nothing happens is kept."""

    def keep(seconds: float) -> None:
        config = pytest.importorskip("uvicorn").Config
        begin = partialmethod(config.__init__, timeout_keep_alive=seconds)
        monkeypatch.setattr(config, "__init__", begin)

    return keep


@pytest.mark.parametrize(
    ("request_", "rest"),
    [
        (LIVE, b"\r\n"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", b"{}"),
    ],
)
def test_what_comes_after_an_answer_keeps_no_connection(
    fronted: Callable[..., Front],
    keep_alive: Callable[[float], None],
    request_: bytes,
    rest: bytes,
) -> None:
    keep_alive(0.5)
    with socket.create_connection(("127.0.0.1", fronted().port), timeout=20) as connection:
        connection.sendall(request_)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 ")
        with suppress(ConnectionError):
            connection.sendall(rest)
            while connection.recv(65_536):
                pass


def test_the_rest_of_a_refused_body_has_the_time_for_bodies(
    fronted: Callable[..., Front], keep_alive: Callable[[float], None]
) -> None:
    keep_alive(0.01)
    with socket.create_connection(("127.0.0.1", fronted().port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
        time.sleep(0.2)
        connection.sendall(b"}" + LIVE)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


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


def test_too_many_connections_are_refused(fronted: Callable[..., Front]) -> None:
    front = fronted(limits=FrontLimits(connections=3))
    with (
        socket.create_connection(("127.0.0.1", front.port)),
        socket.create_connection(("127.0.0.1", front.port)),
        socket.create_connection(("127.0.0.1", front.port)),
    ):
        time.sleep(0.2)
        assert raw(front, b"").startswith(b"HTTP/1.1 503 ")


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


def test_half_a_request_that_is_answered_is_followed_by_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, given_back, connections = threading.Event(), threading.Event(), list[bytearray]()
    complete, give_back = UpstreamConnection.on_message_complete, Upstream.give_back

    def on_message_complete(connection: UpstreamConnection) -> None:
        complete(connection)
        answered.set()

    def give_back_and_tell(upstream: Upstream, connection: UpstreamConnection) -> None:
        give_back(upstream, connection)
        given_back.set()

    monkeypatch.setattr(UpstreamConnection, "on_message_complete", on_message_complete)
    monkeypatch.setattr(Upstream, "give_back", give_back_and_tell)

    class Hasty(socketserver.BaseRequestHandler):
        """Answers before it has all of a request."""

        def handle(self) -> None:
            self.request.recv(1)
            self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            connections.append(bytearray())
            with suppress(ConnectionError):
                while data := self.request.recv(65_536):
                    connections[-1] += data

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hasty) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with Front(("127.0.0.1", server.server_address[1])) as front:
            head, body = binary_request(10**6, 1)
            with socket.create_connection(("127.0.0.1", front.port)) as leaving:
                leaving.sendall(head + body[:1_000])
                assert answered.wait(20)
            assert given_back.wait(20)
            assert ask(front)[0] == 200
        server.shutdown()
    assert len(connections) == 2
