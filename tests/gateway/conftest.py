"""A gateway on a real socket, and what asks it."""

import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.gateway.server import Backend, Gateway, GatewayConfig
from muqrt.runtime.engines.session import Arrays, Session
from muqrt.runtime.load import open_bundle

Start = Callable[..., Gateway]


class Held(Session):
    """A session whose runs wait while ``gate`` is not set.

    Attributes:
        entered: set once a run waits.
    """

    def __init__(self, session: Session) -> None:
        self.__dict__ |= session.__dict__
        self._inner, self.parts = session, None
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        self.entered.set()
        assert self.gate.wait(60)
        return self._inner.run(inputs, outputs)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(scope="session", autouse=True)
def web() -> None:
    """Skip where the extra is not installed."""
    for module in ("uvicorn", "starlette", "websockets", "python_multipart"):
        pytest.importorskip(module, reason="pip install 'muqrt[web]'")


@pytest.fixture(scope="session")
def session(tagged_bundle: Path) -> Iterator[Held]:
    with Held(open_bundle(tagged_bundle, threads=1)) as opened:
        yield opened


@pytest.fixture
def start(session: Held) -> Iterator[Start]:
    """Starts a gateway with these settings."""
    running: list[Gateway] = []

    def begin(other: Session | None = None, **settings: Any) -> Gateway:
        backend = Backend(other or session, "tiny")
        running.append(Gateway(backend, config=GatewayConfig(**settings)))
        return running[-1].__enter__()

    yield begin
    session.gate.set()
    session.entered.clear()
    for each in running:
        each.close()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, music: Path) -> Path:
    """Four seconds of music."""
    samples, rate_hz = soundfile.read(music / "greensleeves_duo.flac", dtype="int16")
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, samples[: 4 * rate_hz], rate_hz)
    return path


def ask(
    gateway: Gateway, path: str = "/v1/tags", body: Any = None, method: str = "POST", **headers: str
) -> tuple[int, Any, Mapping[str, str]]:
    """The status, the JSON (or text) and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named, encode_chunked="transfer-encoding" in named)
    answer = connection.getresponse()
    text, kind = answer.read(), answer.getheader("content-type", "")
    connection.close()
    found = json.loads(text) if "json" in kind and text else text.decode()
    return answer.status, found, {name.lower(): value for name, value in answer.getheaders()}


def form(
    files: Sequence[tuple[str, bytes]], **fields: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """A form's body and its header."""
    boundary = secrets.token_hex(16)
    parts = [
        f'Content-Disposition: form-data; name="audio"; filename="{name}"\r\n\r\n'.encode() + data
        for name, data in files
    ]
    parts += [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, values in fields.items()
        for value in values
    ]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    body += f"--{boundary}--\r\n".encode()
    return body, {"content_type": f"multipart/form-data; boundary={boundary}"}
