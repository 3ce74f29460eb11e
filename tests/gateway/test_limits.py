"""What is refused, with which status and which reason; and that nothing is left of it."""

import http.client
import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from muqrt.gateway.limits import GatewayLimits
from muqrt.triton_repo.front.admission import AdmissionConfig
from muqrt.triton_repo.front.tokens import Tokens

from ..until import until
from .conftest import Held, Start, ask, form

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\xc0\x5d\x00\x00"
EMPTY_WAV = WAV + b"\x80\xbb\x00\x00\x02\x00\x10\x00data\x00\x00\x00\x00"
FORM = {"content_type": "multipart/form-data; boundary=x"}
JSON = {"content_type": "application/json"}


@pytest.fixture(autouse=True)
def no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    until(lambda: not list(tmp_path.glob("muqrt-gateway-*")))


@pytest.mark.parametrize(
    ("status", "reason", "path", "body", "headers"),
    [
        (400, "the body is empty", "/v1/tags", b"", {}),
        (422, "not audio", "/v1/tags", b"#EXTM3U\nhttp://localhost/x.ts\n", {}),
        (422, "audio: ", "/v1/tags", EMPTY_WAV, {}),
        (422, "not audio", "/v1/tags", b"\x00" * 5000, {}),
        (400, "unknown, or given twice", "/v1/tags?windows=1", b"x", {}),
        (400, "unknown, or given twice", "/v1/embeddings?threshold=0.5", b"x", {}),
        (400, "given twice", "/v1/tags?threshold=1&threshold=0", b"x", {}),
        (400, "threshold: must be a number", "/v1/tags?threshold=nan", b"x", {}),
        (400, "threshold: must be a number", "/v1/tags?threshold=two", b"x", {}),
        (400, "hop_seconds: must be a number from 0.5", "/v1/tags?hop_seconds=0", b"x", {}),
        (400, "hop of 600", "/v1/tags?hop_seconds=600", b"WAV", {}),
        (400, "query is malformed", "/v1/tags?threshold", b"x", {}),
        (400, "query is malformed", "/v1/tags?" + "a=1&" * 1100 + "a=1", b"x", {}),
        (415, "compressed", "/v1/tags", b"x", {"content_encoding": "gzip"}),
        (400, "names no boundary", "/v1/tags", b"x", {"content_type": "multipart/form-data"}),
        (400, "malformed", "/v1/tags", b"no form", FORM),
        (400, "cut short", "/v1/tags", b"--x\r\nA: b\r\n\r\ndata", FORM),
        (
            413,
            "headers may have",
            "/v1/tags",
            b'--x\r\nA: form-data; name="a"\r\n\r\n\r\n' * 4000,
            FORM,
        ),
        (400, "has no file", "/v1/tags", b"--x--\r\n", FORM),
        (400, "is not JSON", "/v1/tags", b"{", JSON),
        (400, "is not JSON", "/v1/tags", b"[" * 60_000, JSON),
        (400, '{"urls":', "/v1/tags", b'{"url": "http://a"}', JSON),
        (400, '{"urls":', "/v1/tags", b'{"urls": [1]}', JSON),
        (413, "JSON may have", "/v1/tags", b" " * 70_000, JSON),
        (413, "8 files", "/v1/tags", json.dumps({"urls": ["http://a"] * 9}).encode(), JSON),
        (403, "fetches no addresses", "/v1/tags", b'{"urls": ["http://a"]}', JSON),
        (400, "two files", "/v1/similarity", b"x", {}),
        (404, "no such endpoint", "/v1/other", b"x", {}),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(
    status: int,
    reason: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    start: Start,
    clip: Path,
) -> None:
    gateway = start()
    found = ask(gateway, path, clip.read_bytes() if body == b"WAV" else body, **headers)
    assert (found[0], reason in found[1]["error"]) == (status, True), found
    assert tempfile.gettempdir() not in found[1]["error"]
    assert ask(gateway, body=clip.read_bytes())[0] == 200
    until(lambda: gateway.admission.running == 0)


@pytest.mark.parametrize(
    ("status", "reason", "files", "fields"),
    [
        (413, "8 files", [("a", b"x")] * 9, {}),
        (413, "headers may have 64 KiB", [("a", b"x")], {"text": ["x" * 70_000]}),
        (400, "no such field: text", [("a", b"x")], {"text": ["x"]}),
        (422, "a: not audio", [("a", b"x")], {}),
        (422, "a: the file is empty", [("a", b"")], {}),
    ],
)
def test_a_bad_form_is_refused(
    status: int,
    reason: str,
    files: list[tuple[str, bytes]],
    fields: dict[str, list[str]],
    start: Start,
) -> None:
    body, header = form(files, **fields)
    found = ask(start(), body=body, **header)
    assert (found[0], reason in found[1]["error"]) == (status, True), found


def test_2_gb_are_refused_before_they_come(start: Start) -> None:
    gateway = start()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(
            b"POST /v1/tags HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\n"
        )
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 413 and b"256 MiB" in answer.read()
        assert answer.getheader("connection") != "keep-alive"


def test_a_body_of_unknown_length_is_refused_where_it_gets_too_long(start: Start) -> None:
    gateway = start(limits=GatewayLimits(upload_bytes=1 << 20))
    pieces = iter([bytes(1 << 18)] * 5)
    assert ask(gateway, body=pieces, transfer_encoding="chunked")[0] == 413


@pytest.mark.parametrize("seconds", [1.0, 3.5])
def test_audio_that_is_too_long_is_refused(seconds: float, start: Start, clip: Path) -> None:
    gateway = start(limits=GatewayLimits(audio_seconds=seconds))
    status, found, _ = ask(gateway, body=clip.read_bytes())
    assert (status, found["error"]) == (413, f"audio may last {seconds:g} s; send it in parts")


class FullFolder:
    """A folder on a full disk: what is written into its first file finds no room."""

    def __init__(self, **options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(**options)  # type: ignore[call-overload]

    def __enter__(self) -> str:
        name: str = self._folder.__enter__()
        (Path(name) / "0").symlink_to("/dev/full")
        return name

    def __exit__(self, *error: Any) -> None:
        self._folder.cleanup()


def test_a_full_disk_is_told(start: Start, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muqrt.gateway.endpoints.TemporaryDirectory", FullFolder)
    gateway = start()
    body, header = form([("a", clip.read_bytes())])
    for given, headers in ((clip.read_bytes(), {}), (body, header)):
        status, found, _ = ask(gateway, body=given, **headers)
        assert (status, "disk is full" in found["error"]) == (507, True)
    assert 'refused_total{reason="disk"} 2' in gateway.metrics_text()


def test_audio_of_exactly_the_limit_is_taken(start: Start, clip: Path) -> None:
    assert ask(start(limits=GatewayLimits(audio_seconds=4.0)), body=clip.read_bytes())[0] == 200


def in_thread(answers: list[Any], *args: Any, **headers: str) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(ask(*args, **headers)))
    thread.start()
    return thread


def test_what_there_is_no_room_for_is_told_to_come_back(
    start: Start, session: Held, clip: Path
) -> None:
    gateway = start(admission=AdmissionConfig(running=1, waiting=0))
    session.gate.clear()
    answers: list[Any] = []
    first = in_thread(answers, gateway, "/v1/tags", clip.read_bytes())
    assert session.entered.wait(60)
    status, found, headers = ask(gateway, body=clip.read_bytes())
    assert (status, headers["retry-after"]) == (429, "1")
    assert "too many requests" in found["error"]
    session.gate.set()
    first.join()
    assert answers[0][0] == 200
    assert ask(gateway, body=clip.read_bytes())[0] == 200


def test_an_answer_that_takes_too_long_is_given_up(start: Start, session: Held, clip: Path) -> None:
    gateway = start(limits=GatewayLimits(answer_seconds=0.1))
    session.gate.clear()
    answers: list[Any] = []
    asking = in_thread(answers, gateway, "/v1/tags", clip.read_bytes())
    assert session.entered.wait(60)
    # Its time is over when the model is asked for the second window.
    threading.Timer(0.5, session.gate.set).start()
    asking.join()
    assert answers[0][0] == 408
    assert "no answer within 0.1 s" in answers[0][1]["error"]
    until(lambda: gateway.admission.running == 0)


def test_a_client_that_goes_away_ends_its_work(start: Start, session: Held, clip: Path) -> None:
    gateway = start()
    session.gate.clear()
    body = clip.read_bytes()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        head = f"POST /v1/tags HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert session.entered.wait(60)
    session.gate.set()
    until(lambda: gateway.admission.running == 0)
    text = gateway.metrics_text
    until(lambda: 'requests_total{path="/v1/tags",status="0"} 1' in text())


def test_a_stop_lets_requests_in_flight_end(start: Start, session: Held, clip: Path) -> None:
    gateway = start()
    session.gate.clear()
    answers: list[Any] = []
    asking = in_thread(answers, gateway, "/v1/tags", clip.read_bytes())
    assert session.entered.wait(60)
    stopping = threading.Thread(target=gateway.close)
    stopping.start()
    until(lambda: not gateway.is_ready)
    session.gate.set()
    stopping.join()
    asking.join()
    assert answers[0][0] == 200


def test_a_token_is_asked_for(start: Start, tmp_path: Path, clip: Path) -> None:
    (tmp_path / "tokens").write_text("a" * 32)
    gateway = start(tokens=Tokens(tmp_path / "tokens"))
    status, _, headers = ask(gateway, body=clip.read_bytes())
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert ask(gateway, body=clip.read_bytes(), authorization=f"Bearer {'a' * 32}")[0] == 200
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert ask(gateway, path, method="GET")[0] == 200
    document = ask(gateway, "/openapi.json", method="GET")[1]
    assert document["paths"]["/v1/tags"]["post"]["security"] == [{"token": []}]
