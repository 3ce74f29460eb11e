"""The model ``track`` on the real server, and the gateway before it: killed under load, too."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from muqrt.cli.serve import commands
from muqrt.gateway.server import Backend, Gateway
from muqrt.runtime.load import load
from muqrt.runtime.model import Model
from muqrt.triton_repo.client.endpoint import Endpoint
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.server.process import Server

from ...fronted import fronted
from ...until import until

pytestmark = [pytest.mark.server, pytest.mark.full]


@pytest.fixture(scope="module")
def models(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("track") / "models"
    arguments = ["repository", tagged_bundle, "-o", folder, "--track", "--stream", "--threads", 1]
    done = CliRunner().invoke(commands, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def model(tagged_bundle: Path) -> Iterator[Model]:
    with load(tagged_bundle, threads=1) as opened:
        yield opened


def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    length = int(answer.headers.get("Inference-Header-Content-Length", len(text)))
    found = json.loads(text[:length])
    # After the JSON come the outputs, in its order.
    at = length
    for output in found.get("outputs", ()):
        size = output["parameters"]["binary_data_size"]
        output["data"] = np.frombuffer(text[at : at + size], "<f4").reshape(output["shape"])
        at += size
    return answer.status, found, answer.headers


def test_curl_needs_no_client(models: Path, model: Model, music: Path, tmp_path: Path) -> None:
    raw = {"Inference-Header-Content-Length": "0"}
    with (
        Server(models, log=tmp_path / "log", start_timeout_seconds=120) as server,
        fronted(server) as front,
    ):
        for port in (server.http_port, front.port):
            for file in ("bach_prelude_c.mp3", "greensleeves_duo.flac"):
                body = (music / file).read_bytes()
                status, found, _ = post(port, "/v2/models/track/infer", body, **raw)
                assert status == 200, found
                arrays = {each["name"]: each["data"][0] for each in found["outputs"]}
                scores, embedding = model.tag(music / file).scores, model.embed(music / file)
                assert np.allclose(arrays["tags"], scores, rtol=0, atol=1e-5)
                assert np.allclose(arrays["embedding"], embedding, rtol=0, atol=1e-5)
            status, found, _ = post(port, "/v2/models/track/infer", b"no audio", **raw)
            assert (status, "audio: not audio" in found["error"]) == (400, True)


def test_the_gateway_says_so_when_the_server_is_killed_and_recovers(
    models: Path, model: Model, music: Path, tmp_path: Path
) -> None:
    body = (music / "bach_prelude_c.mp3").read_bytes()
    expected = model.tag(music / "bach_prelude_c.mp3").scores
    first = Server(models, log=tmp_path / "log", start_timeout_seconds=120)
    with first, TritonSession(first.grpc_url) as session:
        backend = Backend(session, "muq", server=Endpoint(first.grpc_url))
        with Gateway(backend) as gateway:
            until(lambda: gateway.is_ready)

            def ask() -> tuple[int, Any, Any]:
                return post(gateway.port, "/v1/tags", body)

            status, found, _ = ask()
            scores = found["results"][0]["scores"]
            names = backend.session.tagging.vocabulary
            assert status == 200
            assert np.allclose([scores[name] for name in names], expected, rtol=0, atol=1e-5)

            answers: list[tuple[int, Any, Any]] = []
            asking = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(8)]
            for thread in asking:
                thread.start()
            os.kill(first.pid, signal.SIGKILL)
            for thread in asking:
                thread.join()
            answers.append(ask())
            assert {status for status, _, _ in answers} <= {200, 503}
            for status, found, headers in answers:
                if status == 503:
                    assert headers["retry-after"] == "1" and "try again" in found["error"]
            assert answers[-1][0] == 503
            until(lambda: not gateway.is_ready)
            port = int(first.grpc_url.rpartition(":")[2])
            with Server(models, None, port, log=tmp_path / "again", start_timeout_seconds=120):
                until(lambda: gateway.is_ready)
                until(lambda: ask()[0] == 200)
                assert ask()[1]["results"][0]["scores"] == scores
            assert gateway.admission.running == 0
