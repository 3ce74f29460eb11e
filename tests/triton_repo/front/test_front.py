"""The front on a real socket, before a server that says what reached it."""

import hashlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from muqrt.errors import ServerError
from muqrt.triton_repo.front.admission import AdmissionConfig
from muqrt.triton_repo.front.front import Front, FrontConfig, Tls
from muqrt.triton_repo.front.http.upstream import UpstreamConnection
from muqrt.triton_repo.front.limits import FrontLimits
from muqrt.triton_repo.front.own import Answer
from muqrt.triton_repo.front.tokens import Tokens

from ...until import until
from .behind import BODY, INFER, SMALL, START, Behind, ask, raw

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'muqrt[server]'")

TOKENS = ("a" * 32, "b" * 32)


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
        ("GET", f"/v2/models/{'m' * 1_024}/config", 404),
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


def test_a_body_is_no_other_request(fronted: Callable[..., Front]) -> None:
    front, path = fronted(), "/v2/models/muq/config"
    assert ask(front, "GET", path, "GET /v2/logging HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 413
    assert [ask(front, "GET", path, None)[1]["path"] for _ in range(2)] == [path, path]


def test_a_front_that_has_ended_is_noticed(fronted: Callable[..., Front]) -> None:
    front = fronted()
    front.check()
    front.close()
    with pytest.raises(ServerError, match="front has ended"):
        front.check()


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
