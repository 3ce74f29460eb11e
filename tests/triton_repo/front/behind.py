"""A server that says what reached it, and what is sent to the front before it."""

import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from muqrt.triton_repo.front.front import Front
from muqrt.triton_repo.front.limits import FrontLimits

INFER = "/v2/models/muq/infer"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]})
START = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode()
SMALL = FrontLimits(
    header_bytes=2_000, headers=10, chunks=100, body_bytes=10_000, head_seconds=0.5, body_seconds=1
)


class Behind(BaseHTTPRequestHandler):
    """Answers with what it was sent; holds requests while ``gate`` is not set."""

    protocol_version = "HTTP/1.1"
    gate = threading.Event()

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        self.gate.wait(20)
        if self.path.endswith("/versions/8/infer"):
            return self._answer(200, bytes(32 << 20))
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


def binary_request(size: int, fill: int) -> tuple[bytes, bytes]:
    """A request's head, and its body of JSON and so many bytes."""
    described = {"name": "x", "shape": [size], "datatype": "UINT8"}
    parameters = {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [described | parameters]}).encode()
    lines = START + b"Inference-Header-Content-Length: %d\r\n" % len(head)
    body = head + bytes([fill]) * size
    return lines + b"Content-Length: %d\r\n\r\n" % len(body), body


def assert_answered(connection: socket.socket, bodies: Sequence[bytes]) -> None:
    """Each of these bodies has come to the server, whole and in turn."""
    with connection.makefile("rb") as reader:
        for body in bodies:
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            lines = iter(reader.readline, b"\r\n")
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
            seen = json.loads(reader.read(int(headers["content-length"])))
            assert seen["sha256"] == hashlib.sha256(body).hexdigest()
