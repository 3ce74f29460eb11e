"""A server's life: ports, death, shutdown. Each test that needs one starts a server of its own."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import psutil
import pytest

from muqrt.common.network import is_loopback
from muqrt.errors import ServerError
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.contract.config import ServingOptions
from muqrt.triton_repo.repository.write import write_repository
from muqrt.triton_repo.server import process as server_module
from muqrt.triton_repo.server.exit_time import ExitTime
from muqrt.triton_repo.server.process import Server

Start = Callable[..., Server]


def family(pid: int) -> list[psutil.Process]:
    """The server and its children."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    """None is alive, or about to be: a kill takes effect a moment after it was sent."""
    deadline = time.monotonic() + 60
    while alive := [each for each in processes if is_alive(each)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    # A zombie is dead and waits to be reaped by its new parent.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def buffers(server: Server) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{server._shared_memory}*"))


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_in_use_is_named_before_anything_starts(models: Path, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"{name} port cannot be {port}.*--{name}-port"):
            Server(models, **{f"{name}_port": port})


def test_ports_must_differ(models: Path) -> None:
    with pytest.raises(ServerError, match="must differ"):
        Server(models, http_port=9_000, grpc_port=9_000)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_refused(models: Path, port: int) -> None:
    with pytest.raises(ServerError, match=str(port)):
        Server(models, grpc_port=port)


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="muqrt repository BUNDLE"):
        Server(tmp_path)


@pytest.mark.server
def test_it_listens_on_loopback_only(start_server: Start) -> None:
    server = start_server()
    listening = {
        connection.laddr.port: connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(server.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    ports = (server.http_port, server.grpc_port, server.metrics_port)
    assert [listening[port] for port in ports] == ["127.0.0.1"] * 3


@pytest.mark.server
def test_a_clean_shutdown_leaves_nothing(start_server: Start) -> None:
    server = start_server()
    members = family(server.pid)
    assert len(members) > 1
    assert buffers(server)
    server.stop()
    server.stop()
    assert_gone(members)
    assert not buffers(server)
    assert "successfully unloaded 'muq'" in server.tail()


@pytest.mark.server
def test_the_same_ports_can_be_used_again_at_once(start_server: Start) -> None:
    first = start_server()
    ports = (first.http_port, first.grpc_port, first.metrics_port)
    with TritonSession(first.grpc_url):
        first.stop()
    again = start_server(
        **dict(zip(["http_port", "grpc_port", "metrics_port"], ports, strict=True))
    )
    with TritonSession(again.grpc_url) as session:
        assert session.level == 1


@pytest.mark.server
def test_a_model_that_cannot_be_loaded_is_an_error_with_the_log(
    start_server: Start, fresh_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    write_repository(fresh_bundle(), tmp_path / "models")
    (tmp_path / "models" / "muq" / "1" / "muq.onnx.data").unlink()
    with pytest.raises(ServerError, match=r"exited \(1\)(.|\n)*failed to load 'muq'"):
        start_server(tmp_path / "models")


@pytest.mark.server
def test_a_start_that_takes_too_long_is_stopped(start_server: Start) -> None:
    with pytest.raises(ServerError, match="not ready within 0 s"):
        start_server(start_timeout_seconds=0)


@pytest.mark.server
def test_a_server_killed_mid_request_is_an_error(
    start_server: Start, waveform: Callable[..., np.ndarray]
) -> None:
    server = start_server()
    members = family(server.pid)
    with TritonSession(server.grpc_url) as session:
        # Stopped, it takes the request and cannot answer: the kill comes mid-request.
        os.killpg(server.pid, signal.SIGSTOP)
        threading.Timer(0.5, os.killpg, (server.pid, signal.SIGKILL)).start()
        with pytest.raises(ServerError, match="went away"):
            session.run({"waveform": waveform()})
        with pytest.raises(ServerError, match="cannot be reached"):
            session.run({"waveform": waveform()})
    # A connection may break before its process is quite dead.
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ServerError, match=r"exited \(-9\)"):
        server.check()
    server.stop()
    assert_gone(members)
    assert not buffers(server)


@pytest.mark.server
def test_a_server_that_hangs_is_killed_with_its_children(
    start_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_UNLOAD_SECONDS", 0)
    server = start_server(exit_timeout_seconds=3_600)
    now = 0.0
    server.exit_time = ExitTime(3_600, lambda: now)
    server.exit_time.begin()
    now = 3_600.0  # what stands in front of it has taken all the time
    members = family(server.pid)
    os.killpg(server.pid, signal.SIGSTOP)
    server.stop()
    assert_gone(members)
    assert not buffers(server)


@pytest.mark.server
def test_a_server_that_does_not_answer_runs_into_the_deadline(
    start_server: Start, waveform: Callable[..., np.ndarray]
) -> None:
    server = start_server()
    with TritonSession(server.grpc_url) as session:
        session.timeout_seconds = 0.5
        os.killpg(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ServerError, match="did not answer in time"):
                session.run({"waveform": waveform()})
        finally:
            os.killpg(server.pid, signal.SIGCONT)
        session.timeout_seconds = 10
        assert session.run({"waveform": waveform()})


@pytest.mark.server
def test_a_full_queue_is_waited_for(
    start_server: Start,
    bundle: Bundle,
    tmp_path: Path,
    waveform: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ServingOptions(max_batch_size=1, max_queue_size=1, max_queue_delay_us=0)
    write_repository(bundle, tmp_path / "models", options=options)
    server = start_server(tmp_path / "models")
    stub = family(server.pid)[-1]
    rejected, sleep = threading.Semaphore(0), time.sleep

    def pause(seconds: float) -> None:
        rejected.release()
        sleep(seconds)

    monkeypatch.setattr("time.sleep", pause)
    with (
        TritonSession(server.grpc_url) as session,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        # With the model held, one request runs, one waits, and the others are rejected.
        stub.suspend()
        runs = [pool.submit(session.run, {"waveform": waveform()}) for _ in range(8)]
        assert all(rejected.acquire(timeout=30) for _ in runs[2:])
        with pytest.raises(ServerError, match="too many requests waiting"):
            session._connection.call("infer", "muq", 300, inputs=[_input(session, waveform())])
        stub.resume()
        assert all(run.result()["features"].shape == (1, 25, 4) for run in runs)


def _input(session: TritonSession, audio: np.ndarray) -> object:
    import tritonclient.grpc as triton

    tensor = triton.InferInput("waveform", audio.shape, "FP32")
    return tensor.set_data_from_numpy(audio)


SERVE = """
import typer
from muqrt.cli.serve import commands
typer.main.get_command(commands)()
"""


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "music.example"])
def test_the_network_is_not_served_by_mistake(
    address: str, models: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> None:
    serve = ("serve", models, "--address", address)
    assert "--allow-remote" in muqrt(*serve).stderr
    shared = muqrt(*serve, "--allow-remote", "--allow-shared-memory")
    assert (shared.returncode, "on this machine" in shared.stderr) == (2, True)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_is_known(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.server
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_serve_announces_itself_and_ends_cleanly(
    server: Server, models: Path, how: signal.Signals
) -> None:
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-c", SERVE, "serve", str(models), *ports, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        members = family(facts["pid"])
        assert facts["models"] == {"muq": "READY"}
        with TritonSession(facts["grpc"]) as session:
            assert session.framing.sample_rate_hz == 24_000
        process.send_signal(how)
        assert process.wait(30) == 0
    assert_gone(members)
    assert not Path(facts["log"]).exists()
