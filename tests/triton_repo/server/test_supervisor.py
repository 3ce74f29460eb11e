"""What dies is brought back, what is only busy is left alone, and readiness tells the truth."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from muqrt.errors import ServerError
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.triton_repo.client.connection import BusyError, Connection, GoneError, tensors
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.contract.config import ServingOptions
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server import model_watch
from muqrt.triton_repo.server import supervisor as module
from muqrt.triton_repo.server.process import Server
from muqrt.triton_repo.server.stubs import processor_ticks, stubs_of
from muqrt.triton_repo.server.supervisor import Deaths, Supervisor

Start = Callable[..., Server]
# For a machine that is busy with other things.
LONG_SECONDS = 90.0


def wait_until(condition: Callable[[], bool], seconds: float = LONG_SECONDS) -> float:
    """How long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def watched(start_server: Start) -> Iterator[tuple[Server, Supervisor]]:
    server = start_server(exit_timeout_seconds=1)
    with Supervisor(server) as supervisor:
        wait_until(lambda: supervisor.is_ready)
        yield server, supervisor


def ask(server: Server) -> np.ndarray:
    with TritonSession(server.grpc_url) as session:
        return session.run({"waveform": np.zeros((1, 2_000), np.float32)})["embedding"]


@pytest.mark.server
def test_a_killed_stub_is_replaced_and_the_server_stays(
    watched: tuple[Server, Supervisor],
) -> None:
    server, supervisor = watched
    pid, before = server.pid, ask(server)
    (stub,) = stubs_of(server.pid, "muq")
    os.kill(stub.pid, signal.SIGKILL)
    assert wait_until(lambda: not supervisor.is_ready) < 2
    with (
        Connection(server.grpc_url) as connection,
        pytest.raises(GoneError, match="loads it again"),
    ):
        arguments = tensors({"waveform": np.zeros((1, 2_000), np.float32)}, ["embedding"])
        connection.call("infer", "muq", 10, **arguments)
    wait_until(lambda: supervisor.is_ready)
    assert np.array_equal(ask(server), before)
    assert (server.pid, supervisor.server_restarts) == (pid, 0)
    assert 'muqrt_model_restarts_total{model="muq"} 1' in supervisor.metrics_text()


@pytest.mark.server
@pytest.mark.full
def test_a_stub_that_stands_still_is_replaced(watched: tuple[Server, Supervisor]) -> None:
    server, supervisor = watched
    (stub,) = stubs_of(server.pid, "muq")
    os.kill(stub.pid, signal.SIGSTOP)
    wait_until(lambda: not supervisor.is_ready)
    wait_until(lambda: supervisor.is_ready)
    ask(server)
    assert stubs_of(server.pid, "muq") != [stub]


@pytest.mark.server
@pytest.mark.full
def test_a_killed_server_starts_again_on_its_ports(watched: tuple[Server, Supervisor]) -> None:
    server, supervisor = watched
    pid, before = server.pid, ask(server)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not supervisor.is_ready) < 2
    wait_until(lambda: supervisor.is_ready)
    assert server.pid != pid
    assert np.array_equal(ask(server), before)
    assert supervisor.server_restarts == 1
    assert supervisor.model_restarts.total() == 0
    assert "muqrt_server_restarts_total 1\n" in supervisor.metrics_text()


@pytest.mark.server
def test_a_full_queue_is_not_a_dead_model(
    start_server: Start, bundle: Bundle, tmp_path: Path
) -> None:
    options = ServingOptions(
        max_batch_size=1,
        max_queue_size=1,
        max_queue_delay_us=0,
        threads=1,
        limits=Limits(max_seconds=60.0),
    )
    write_repository(bundle, tmp_path / "models", options=options)
    server = start_server(tmp_path / "models", exit_timeout_seconds=1)
    # Long enough for several looks to find the queue full.
    minute = {"waveform": np.zeros((1, 60 * 24_000), np.float32)}
    rejected, stop = threading.Event(), threading.Event()

    def flood() -> None:
        with Connection(server.grpc_url) as connection:
            while not stop.is_set():
                try:
                    connection.call("infer", "muq", 60, **tensors(minute, ["embedding"]))
                except BusyError:
                    rejected.set()

    with Supervisor(server) as supervisor:
        wait_until(lambda: supervisor.is_ready)
        (stub,) = stubs_of(server.pid, "muq")
        floods = [threading.Thread(target=flood) for _ in range(4)]
        for each in floods:
            each.start()
        try:
            assert rejected.wait(30)
            ticks, end = processor_ticks(stub.pid), time.monotonic() + 3
            while time.monotonic() < end:
                assert supervisor.is_ready
                time.sleep(0.01)
        finally:
            stop.set()
            for each in floods:
                each.join()
        assert processor_ticks(stub.pid) > ticks
        assert stubs_of(server.pid, "muq") == [stub]
        assert supervisor.model_restarts.total() == supervisor.server_restarts == 0


SLEEPS_ONCE = """
import time
from pathlib import Path
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        mark = Path(args["model_repository"]) / "slept"
        self.sleeps, _ = not mark.exists(), mark.touch()

    def execute(self, requests):
        time.sleep(3600 * self.sleeps)
        refusal = pb_utils.TritonError("awake", pb_utils.TritonError.INVALID_ARG)
        return [pb_utils.InferenceResponse([], refusal) for _ in requests]
"""


@pytest.mark.server
@pytest.mark.full
def test_a_model_that_neither_answers_nor_computes_is_dead_after_a_while(
    start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_watch, "_HANG_SECONDS", 6.0)
    version = tmp_path / "models" / "sleeper" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(SLEEPS_ONCE)
    (version.parent / "config.pbtxt").write_text(
        'name: "sleeper" backend: "python" input { name: "x" data_type: TYPE_INT32 dims: 1 }'
        'output { name: "y" data_type: TYPE_INT32 dims: 1 }'
    )
    server = start_server(tmp_path / "models", exit_timeout_seconds=1)
    with Supervisor(server) as supervisor:
        # Until then it may only be busy.
        wait_until(lambda: supervisor.is_ready)
        assert wait_until(lambda: supervisor.model_restarts.total() == 1) > 3
        wait_until(lambda: supervisor.is_ready)
        time.sleep(2)
        assert supervisor.is_ready and supervisor.model_restarts.total() == 1


@pytest.mark.server
@pytest.mark.full
def test_it_gives_up_on_a_server_that_cannot_start(
    start_server: Start,
    fresh_bundle: Callable[..., Bundle],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(module, "_MOST_FAILED_STARTS", 1)
    write_repository(fresh_bundle(), tmp_path / "models")
    server = start_server(tmp_path / "models")
    with Supervisor(server) as supervisor:
        (tmp_path / "models" / "muq" / "1" / "muq.onnx.data").unlink()
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError, match=r"exited \(1\)(.|\n)*failed to load 'muq'"):
            supervisor.wait(LONG_SECONDS)
        assert not supervisor.is_ready


def test_what_dies_often_waits_before_it_comes_back() -> None:
    now = 0.0
    deaths = Deaths(lambda: now)
    assert [deaths.pause_seconds() for _ in range(4)] == [0.0] * 4
    pauses = [deaths.pause_seconds() for _ in range(10)]
    assert 0.5 <= pauses[0] <= 1 < pauses[2] < pauses[-1] <= 30
    now = 61.0
    assert deaths.pause_seconds() == 0


def test_a_process_that_waits_to_be_reaped_is_dead() -> None:
    script = (
        "import subprocess\n"
        "p = subprocess.Popen(['sh', '-c', 'read x', 'muq_0_0'], stdin=subprocess.PIPE)\n"
        "input()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as parent:
        wait_until(lambda: bool(stubs_of(parent.pid, "muq")))
        (stub,) = stubs_of(parent.pid, "muq")
        assert stub.is_alive
        assert stubs_of(parent.pid, "muq_0") == []
        os.kill(stub.pid, signal.SIGKILL)
        wait_until(lambda: not stub.is_alive)
        assert Path(f"/proc/{stub.pid}").exists()
        assert stubs_of(parent.pid, "muq") == []
        parent.communicate(b"\n")


SERVE = "import typer; from muqrt.cli.serve import commands; typer.main.get_command(commands)()"


def status(url: str) -> int:
    try:
        with urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.mark.server
@pytest.mark.full
@pytest.mark.parametrize("what", ["model", "server"])
def test_served_readiness_tells_the_truth(what: str, server: Server, models: Path) -> None:
    pytest.importorskip("uvicorn")
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    command = [sys.executable, "-c", SERVE, "serve", str(models), *ports, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            ready = [facts["http"] + path for path in ("/v2/health/ready", "/v2/models/muq/ready")]
            live = facts["http"] + "/v2/health/live"
            assert [status(url) for url in (*ready, live)] == [200, 200, 200]
            victim = stubs_of(facts["pid"], "muq")[0].pid if what == "model" else facts["pid"]
            os.kill(victim, signal.SIGKILL)
            assert wait_until(lambda: status(ready[0]) == 503) < 2
            assert [status(url) for url in (*ready, live)] == [503, 503, 200]
            wait_until(lambda: status(ready[0]) == 200)
            assert status(ready[1]) == 200
            with TritonSession(facts["grpc"]) as session:
                session.run({"waveform": np.zeros((1, 2_000), np.float32)})
            with urlopen(facts["metrics"], timeout=10) as answer:
                text = answer.read().decode()
            assert f"muqrt_server_restarts_total {int(what == 'server')}\n" in text
            assert f'muqrt_model_restarts_total{{model="muq"}} {int(what == "model")}\n' in text
            assert "nv_inference_count" in text
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
