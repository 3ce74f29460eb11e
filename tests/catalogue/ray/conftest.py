"""A Ray cluster of two nodes, in a network of its own: Ray binds every address that it finds."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ...until import until

RAY = Path(sys.prefix) / "ray"  # by make test-all
PORT = 6400
# Options of ray start, and the files that a raylet waits for.
_PORTS = (
    ("dashboard-agent-grpc-port", "metrics_agent_port"),
    ("metrics-export-port", "metrics_export_port"),
    ("dashboard-agent-listen-port", "dashboard_agent_listen_port"),
    ("runtime-env-agent-port", "runtime_env_agent_port"),
)


@dataclass
class Cluster:
    """A cluster.

    Attributes:
        address: for ``--ray``.
        raylets: the process ids of both nodes' raylets, the head's first.
        prefix: of commands that reach it.
        environment: of those commands.
    """

    address: str
    raylets: list[int]
    prefix: list[str]
    environment: dict[str, str]

    def actors(self, raylet: int | None = None) -> list[int]:
        """Process ids of muqrt's workers, on one node or on all."""
        found = []
        for each in self.raylets if raylet is None else [raylet]:
            if psutil.pid_exists(each):
                children = psutil.Process(each).children(recursive=True)
                found += [child.pid for child in children if "_Actor" in _name(child)]
        return found

    def start(self, words: Sequence[object]) -> "subprocess.Popen[str]":
        """Start ``muqrt catalogue`` beside it."""
        command = [*self.prefix, sys.executable, "-m", "muqrt", "catalogue", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environment, text=True, **pipes)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def network() -> Iterator[list[str]]:
    """The prefix of commands that have a network of their own, with nothing but a loopback."""
    words = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]
    try:
        holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    with holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            pytest.skip("no network of its own can be had here: that takes root, and iproute2")
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        holder.kill()


@pytest.fixture
def cluster(network: list[str], environment: dict[str, str]) -> Iterator[Cluster]:
    """Two nodes of one core."""
    if not (RAY / "ray").is_dir():
        pytest.skip("Ray is not installed; make test-all installs it")
    holder = int(Path(network[1]).parts[2])
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets' names may not be long
    variables = {
        **environment,
        "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{RAY}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "600",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    head = ["--head", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
    found = Cluster(f"127.0.0.1:{PORT}", [], network, variables)
    try:
        for options in (head, [f"--address={found.address}"]):
            _start_node(found, folder, options)
        yield found
    finally:
        home = _network(holder)
        assert home and home != _network(os.getpid())
        left = [each for each in psutil.process_iter() if _network(each.pid) == home]
        left = [each for each in left if each.pid != holder]
        for each in left:
            each.kill()
        psutil.wait_procs(left, timeout=30)
        shutil.rmtree(folder)


def _start_node(cluster: Cluster, folder: Path, options: list[str]) -> None:
    """Start one, with ports of our own: a raylet gives up if its helpers, Python programs, have not
    written theirs to files within 15 s, and a busy machine takes longer."""
    node, first = secrets.token_hex(28), PORT + 1 + len(_PORTS) * len(cluster.raylets)
    command = [*cluster.prefix, sys.executable, "-m", "ray.scripts.scripts", "start", *options]
    command += ["--num-cpus=1", "--object-store-memory=80000000"]
    command += [f"--{option}={first + place}" for place, (option, _) in enumerate(_PORTS)]
    environment = {**cluster.environment, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node}
    with (folder / "start.log").open("w+") as log:
        starting = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(lambda: (folder / "session_latest").exists() or starting.poll() is not None)
        for place, (_, name) in enumerate(_PORTS):
            (folder / "session_latest" / f"{name}_{node}").write_text(str(first + place))
        assert starting.wait() == 0, (folder / "start.log").read_text()
    (own,) = [
        each.pid
        for each in _processes(folder)
        if Path(each.cmdline()[0]).name == "raylet" and each.pid not in cluster.raylets
    ]
    cluster.raylets.append(own)


def _network(pid: int) -> str:
    """What tells the network of a process from others'."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def _processes(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if str(folder) in _name(each)]


Start = Callable[[Sequence[object]], "subprocess.Popen[str]"]
