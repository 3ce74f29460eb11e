"""The front before the real server: nothing that is sent ends it, and others are served."""

import json
import queue
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import numpy as np
import psutil
import pytest

from muqrt.errors import ServerError
from muqrt.triton_repo.client.connection import BusyError, Connection, tensors
from muqrt.triton_repo.client.endpoint import Endpoint
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.front.admission import AdmissionConfig
from muqrt.triton_repo.front.front import Front, FrontConfig, Grpc, Tls
from muqrt.triton_repo.front.tokens import Tokens
from muqrt.triton_repo.server.process import Server

from ...until import until
from .leaving import give_up, infer_request

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'muqrt[server]'")
pytestmark = pytest.mark.server

INFER = "/v2/models/muq/infer"
TOKEN = "0123456789abcdef" * 2
Waveform = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def front(server: Server) -> Iterator[Front]:
    config = FrontConfig(admission=AdmissionConfig(16, 64), grpc=Grpc(server.grpc_url))
    with Front(("127.0.0.1", server.http_port), config=config) as running:
        yield running


def binary_request(audio: np.ndarray) -> tuple[bytes, dict[str, str]]:
    described = {"name": "waveform", "shape": list(audio.shape), "datatype": "FP32"}
    parameters = {"binary_data_size": audio.nbytes}
    outputs = [{"name": "embedding", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [{**described, "parameters": parameters}], "outputs": outputs})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return head.encode() + audio.tobytes(), headers


def ask(port: int, body: bytes, headers: dict[str, str], path: str = INFER) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_an_answer_is_the_server_s_own(front: Front, server: Server, waveform: Waveform) -> None:
    request = binary_request(waveform(24_000))
    through = ask(front.port, *request)
    assert through == ask(server.http_port, *request)
    assert through[0] == 200
    with TritonSession(front.grpc_url) as fronted, TritonSession(server.grpc_url) as direct:
        audio = {"waveform": waveform(24_000, batch=2)}
        for name, array in direct.run(audio).items():
            np.testing.assert_array_equal(fronted.run(audio)[name], array)


def crash(which: int, port: int) -> bytes:
    """What the front answers to one of the requests that each end the server itself."""
    if which == 0:
        tensor = {"name": "waveform", "shape": [1, 99_999_999_999], "datatype": "FP32", "data": [1]}
        return b"%d" % ask(port, json.dumps({"inputs": [tensor]}).encode(), {})[0]
    if which == 1:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return b"%d" % ask(port, bytes(4 << 20), form, "/")[0]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        try:
            connection.sendall(head.encode())
            for _ in range(600):
                connection.sendall(b"1\r\nA\r\n" * 1_000)
        except ConnectionError:
            pass
        return connection.recv(12)[9:]


@pytest.mark.parametrize(("which", "status"), [(0, b"400"), (1, b"404"), (2, b"413")])
def test_what_ends_the_server_is_refused(
    which: int, status: bytes, front: Front, server: Server, waveform: Waveform
) -> None:
    with Honest(front, 2, waveform) as honest:
        assert crash(which, front.port) == status
    assert honest.served > 0
    server.check()


class Honest:
    """Clients that ask without a pause while the block runs; each failure is raised at its end."""

    def __init__(self, front: Front, count: int, waveform: Waveform) -> None:
        self._front, self._count = front, count
        self._request = binary_request(waveform(2_400))
        self._audio = {"waveform": waveform(2_400)}
        self._done = threading.Event()
        self.served = 0

    def _ask(self, over_grpc: bool) -> int:
        served = 0
        with TritonSession(self._front.grpc_url) as session:
            while not served or not self._done.is_set():
                if over_grpc:
                    session.run(self._audio)
                else:
                    status, answer = ask(self._front.port, *self._request)
                    assert status == 200, answer
                served += 1
        return served

    def __enter__(self) -> "Honest":
        self._pool = ThreadPoolExecutor(self._count)
        self._runs = [self._pool.submit(self._ask, n % 2 == 0) for n in range(self._count)]
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()
        self.served = sum(run.result() for run in self._runs)


# Not by schemathesis: the protocol's OpenAPI document describes its JSON alone, at paths with a $
# that no server has. What ended Triton lies beside it: binary data, chunks, headers, half requests.
def spoiled(rng: random.Random, body: bytes, headers: dict[str, str]) -> bytes:
    """A request as bytes, with something wrong in it."""
    kind = rng.randrange(8)
    head_length = int(headers["Inference-Header-Content-Length"])
    if kind == 0:
        head_length = rng.choice([-1, 0, 1, len(body), len(body) + 1, 2**63, head_length - 1])
    elif kind == 1:
        shape = rng.choice([[-1], [0], [2**62, 4], [1] * 100, [1.5], ["x"], {}, None, [1, 2_401]])
        body = body.replace(b"[1, 2400]", json.dumps(shape).encode())
        head_length = len(body) - 9_600
    elif kind == 2:
        old, new = rng.choice([(b"FP32", b"FP99"), (b"waveform", b"x" * 8), (b"9600", b"9601")])
        body = body.replace(old, new)
    elif kind == 3:
        spoilt = bytearray(body)
        for _ in range(rng.randrange(1, 20)):
            spoilt[rng.randrange(head_length)] = rng.randrange(256)
        body = bytes(spoilt)
    elif kind == 4:
        body = rng.choice([b"[" * 50_000, b'{"inputs":' * 50, rng.randbytes(3_000), b""])
        head_length = len(body)
    lines = [f"POST {rng.choice([INFER, INFER, '/', '/v2/logging', INFER + '/x'])} HTTP/1.1"]
    lines += ["Host: x", f"Inference-Header-Content-Length: {head_length}", "Connection: close"]
    if kind == 5:
        lines += [rng.choice(["Content-Encoding: gzip", "Content-Length: 7", "X: " + "y" * 20_000])]
    if kind == 6:
        lines[0] = rng.choice(["GET / HTTP/9.9", "\0", "POST", f"PUT {INFER} HTTP/1.0", lines[0]])
    if kind == 7:
        lines.append("Transfer-Encoding: chunked")
        body = rng.choice([b"zz\r\n", b"ffffffffffffffffffff\r\n", b"5\r\nabc", b"1\r\nA\r\n" * 99])
    else:
        lines.append(f"Content-Length: {len(body)}")
    whole = "\r\n".join([*lines, "", ""]).encode() + body
    return whole[: rng.randrange(len(whole))] if rng.random() < 0.1 else whole


def send(port: int, data: bytes) -> bytes:
    """What is answered; a client that stops in the midst goes away."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(12)
        except TimeoutError:
            raise
        except OSError:  # the front has closed the connection before all was sent
            return b""


def send_over_grpc(channel: object, rng: random.Random) -> None:
    """A message that is none, to a method that may be none."""
    import grpc

    name = rng.choice(["ModelInfer", "ModelConfig", "SystemSharedMemoryStatus", "X", "ServerReady"])
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")  # type: ignore[attr-defined]
    try:
        call(rng.randbytes(rng.randrange(2_000)), timeout=20)
    except grpc.RpcError as error:
        assert error.code() is not grpc.StatusCode.UNAVAILABLE, error


@pytest.mark.parametrize("count", [30, pytest.param(10_000, marks=pytest.mark.full)])
def test_malformed_requests_end_nothing_and_hold_nobody_up(
    count: int, front: Front, server: Server, waveform: Waveform
) -> None:
    import grpc

    rng = random.Random(count)
    body, headers = binary_request(waveform(2_400))
    whole = infer_request("muq", waveform(2_400))
    # This process has the front.
    processes = [psutil.Process(), psutil.Process(server.pid)]
    processes += processes[1].children(recursive=True)
    resident = []
    with Honest(front, 8, waveform) as honest, grpc.insecure_channel(front.grpc_url) as channel:
        for number in range(count):
            if number in (min(1_000, count // 2), count - 1):
                resident.append(sum(each.memory_info().rss for each in processes))
            if number % 5 == 4:
                send_over_grpc(channel, rng)
            elif number % 5 == 3:
                give_up(str(front.grpc_url), whole, rng)
            else:
                answer = send(front.port, spoiled(rng, body, headers))
                assert not answer or answer.startswith(b"HTTP/1.1 ")
                assert not answer.startswith(b"HTTP/1.1 500")
    server.check()
    assert honest.served >= 8
    assert resident[1] < 1.05 * resident[0] + (32 << 20)


def test_tls_and_tokens_over_grpc(
    server: Server, certificate: tuple[Path, Path, Path], tmp_path: Path, waveform: Waveform
) -> None:
    authority, chain, key = certificate
    (tmp_path / "tokens").write_text(TOKEN)
    config = FrontConfig(
        tokens=Tokens(tmp_path / "tokens"), tls=Tls(chain, key), grpc=Grpc(server.grpc_url)
    )
    with Front(("127.0.0.1", server.http_port), config=config) as front:
        url = f"localhost:{front.grpc_port}"
        with TritonSession(Endpoint(url, authority, TOKEN)) as session:
            assert session.run({"waveform": waveform()})["features"].size
        with pytest.raises(ServerError, match=r"wants a token.*--token"):
            TritonSession(Endpoint(url, authority, TOKEN + "x"))
        with pytest.raises(ServerError, match="cannot be reached"):
            TritonSession(Endpoint(url, token=TOKEN))


def test_a_token_is_not_sent_in_the_open() -> None:
    with pytest.raises(ServerError, match="in the open"):
        TritonSession(Endpoint("192.0.2.1:8001", token=TOKEN))


def test_grpc_is_refused_where_there_is_no_room(
    server: Server, front: Front, waveform: Waveform
) -> None:
    config = replace(front.config, admission=AdmissionConfig(1, 0))
    with Front(("127.0.0.1", server.http_port), config=config) as narrow:
        stub = psutil.Process(server.pid).children(recursive=True)[-1]
        arguments = tensors({"waveform": waveform()}, ["embedding"])
        with Connection(narrow.grpc_url) as first, Connection(narrow.grpc_url) as second:
            stub.suspend()
            try:
                with ThreadPoolExecutor(1) as pool:
                    held = pool.submit(first.call, "infer", "muq", 20, **arguments)
                    until(lambda: narrow.admission.running > 0)
                    start = time.monotonic()
                    with pytest.raises(BusyError, match="takes no more now"):
                        second.call("infer", "muq", 20, **arguments)
                    assert time.monotonic() - start < 1
                    stub.resume()
                    assert held.result().as_numpy("embedding").size
            finally:
                stub.resume()


def test_serve_does_tls_on_every_port(
    server: Server, models: Path, certificate: tuple[Path, Path, Path], waveform: Waveform
) -> None:
    authority, chain, key = certificate
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    tls = ["--tls-cert", str(chain), "--tls-key", str(key)]
    command = [sys.executable, "-m", "muqrt", "serve", str(models), *ports, *tls, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            url = facts["grpc"].replace("127.0.0.1", "localhost")
            with TritonSession(Endpoint(url, authority)) as session:
                assert session.run({"waveform": waveform()})["features"].size
            with pytest.raises(ServerError, match="cannot be reached"):
                TritonSession(url)
            context = ssl.create_default_context(cafile=authority)
            opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
            with opener.open(f"{facts['http']}/v2/health/ready", timeout=20) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_a_server_that_dies_when_clients_give_up_is_not_reached_directly(
    server: Server, models: Path, muqrt: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    if server.http.version() >= (2, 59):
        pytest.skip("this server survives it")
    ports = ["--http-port", 0, "--grpc-port", 0, "--metrics-port", 0]
    done = muqrt("serve", models, *ports, "--direct-grpc")
    assert done.returncode == 2
    assert "can die when a client gives up" in done.stderr


def test_a_bidirectional_stream_passes(front: Front, waveform: Waveform) -> None:
    import tritonclient.grpc as triton

    found: queue.Queue[tuple[object, Exception | None]] = queue.Queue()
    arguments = tensors({"waveform": waveform()}, ["embedding"])
    with triton.InferenceServerClient(front.grpc_url) as client:
        client.start_stream(lambda result, error: found.put((result, error)))
        for _ in range(3):
            client.async_stream_infer("muq", **arguments)
            result, error = found.get(timeout=20)
            assert error is None and result.as_numpy("embedding").size
        assert front.admission.running == 1
        client.stop_stream()
    until(lambda: front.admission.running == 0)
