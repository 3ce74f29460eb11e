"""The metrics endpoint: two sources in one text, through whatever clients send."""

import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from muqrt.errors import ServerError
from muqrt.triton_repo.server.metrics import MetricsEndpoint


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    def away() -> str:
        raise ConnectionRefusedError

    with MetricsEndpoint("127.0.0.1", 0, lambda: "a 1\n", away, lambda: "b 2\n") as running:
        yield running


def read(endpoint: MetricsEndpoint, path: str = "/metrics") -> bytes:
    with urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return bytes(answer.read())


def test_the_sources_follow_each_other_and_one_that_is_away_is_left_out(
    endpoint: MetricsEndpoint,
) -> None:
    assert read(endpoint) == b"a 1\nb 2\n"


def test_there_is_nothing_else(endpoint: MetricsEndpoint) -> None:
    with pytest.raises(HTTPError, match="404"):
        read(endpoint, "/v2/models/muq/infer")


def test_a_port_in_use_is_named(endpoint: MetricsEndpoint) -> None:
    with pytest.raises(
        ServerError, match=rf"metrics port cannot be {endpoint.port}.*--metrics-port"
    ):
        MetricsEndpoint("127.0.0.1", endpoint.port)


def test_bodies_are_not_read_and_idle_clients_take_no_more_than_their_places(
    endpoint: MetricsEndpoint,
) -> None:
    address = ("127.0.0.1", endpoint.port)
    with socket.create_connection(address) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 501")
    idle = [socket.create_connection(address) for _ in range(40)]
    # Those that have no place are closed at once.
    for each in idle[32:]:
        each.settimeout(5)
        assert each.recv(1) == b""
    for each in idle:
        each.close()
    assert read(endpoint) == b"a 1\nb 2\n"
