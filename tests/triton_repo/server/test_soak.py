"""Fifty live streams while models, server and clients are killed at random.

Three minutes; ``MUQRT_SOAK_SECONDS=1800`` for half an hour.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.triton_repo.client.streaming import StreamingClient
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.repository.write import write_repository, write_stream_repository
from muqrt.triton_repo.server.process import Server
from muqrt.triton_repo.server.stubs import stubs_of
from muqrt.triton_repo.server.supervisor import Supervisor

from ...fronted import fronted

pytestmark = [pytest.mark.server, pytest.mark.full]

SOAK_SECONDS = float(os.environ.get("MUQRT_SOAK_SECONDS", "180"))
CLIENTS, STREAMS_EACH, MOST_STREAMS = 5, 10, 64
RESTART_SECONDS, LIE_SECONDS = 5.0, 2.0
PAUSE_SECONDS = (6.0, 12.0)
CLIENT = Path(__file__).with_name("soak_client.py")


@dataclass
class Kill:
    """What was killed, and when what followed was seen, in seconds after it.

    ``noticed`` and ``ready`` are what readiness said; ``worked`` is when an inference did.
    """

    what: str
    load: float
    noticed: float = -1.0
    worked: float = -1.0
    ready: float = -1.0

    @property
    def allowed_seconds(self) -> float:
        """A restart computes for a second or two: on a machine with other work, longer."""
        return RESTART_SECONDS * max(1.0, self.load / (os.cpu_count() or 1))


@pytest.fixture
def models(tagged_bundle: Path, tmp_path: Path) -> Path:
    bundle, folder = load_bundle(tagged_bundle), tmp_path / "models"
    write_repository(bundle, folder)
    options = StreamOptions(max_streams=MOST_STREAMS, idle_seconds=6.0, threads=1)
    write_stream_repository(bundle, folder, options=options)
    return folder


def works(url: str, model: str) -> bool:
    """An inference that the supervisor knows nothing of."""
    waveform = triton.InferInput("waveform", [1, 2_000], "FP32")
    waveform.set_data_from_numpy(np.zeros((1, 2_000), np.float32))
    of_stream = {"sequence_id": random.getrandbits(60) + 1, "sequence_start": True}
    sequence = {**of_stream, "sequence_end": True} if model == "muq_stream" else {}
    with triton.InferenceServerClient(url) as client:
        try:
            client.infer(model, [waveform], client_timeout=5, **sequence)
        except InferenceServerException:
            return False
    return True


def kill(what: str, server: Server, clients: list[subprocess.Popen[str]]) -> None:
    if what == "client":
        clients.pop(random.randrange(len(clients))).kill()
    elif what == "server":
        os.kill(server.pid, signal.SIGKILL)
    else:
        os.kill(stubs_of(server.pid, what)[0].pid, signal.SIGKILL)


def follow(found: Kill, server: Server, supervisor: Supervisor, url: str) -> None:
    """Watch what a kill leads to, until all works again."""
    began = time.monotonic()
    names = supervisor.models if found.what == "server" else [found.what]

    def try_out() -> None:
        while found.worked < 0:
            if found.noticed >= 0 and all(works(url, name) for name in names):
                found.worked = time.monotonic() - began
            time.sleep(0.02)

    trial = threading.Thread(target=try_out)
    trial.start()
    while found.worked < 0 or found.ready < 0:
        now = time.monotonic() - began
        assert now < 120, (found, supervisor.metrics_text(), server.tail())
        if found.noticed < 0 and not supervisor.is_ready:
            found.noticed = now
        elif found.noticed >= 0 and found.ready < 0 and supervisor.is_ready:
            found.ready = now
        time.sleep(0.005)
    trial.join()


@pytest.fixture
def clients() -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for each in running:
        each.kill()
        each.wait()


def test_nothing_is_lost(
    models: Path, tmp_path: Path, clients: list[subprocess.Popen[str]]
) -> None:
    random.seed(19)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills: list[Kill] = []
    seeds = iter(range(0, 10**6, STREAMS_EACH))
    limits = {"start_timeout_seconds": 120.0, "exit_timeout_seconds": 1}
    with (
        Server(models, log=tmp_path / "log", **limits) as server,  # type: ignore[arg-type]
        Supervisor(server) as supervisor,
        fronted(server) as front,
    ):
        url = str(front.grpc_url)

        def add_client() -> None:
            command = [sys.executable, CLIENT, url, str(STREAMS_EACH), str(next(seeds))]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            clients.append(subprocess.Popen(command, env=environment, text=True, **pipes))

        while not supervisor.is_ready:
            time.sleep(0.01)
        end = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < end:
            while len(clients) < CLIENTS:
                add_client()
            time.sleep(random.uniform(*PAUSE_SECONDS))
            what = random.choice(["muq", "muq_stream", "server", "client"])
            found = Kill(what, os.getloadavg()[0])
            kill(what, server, clients)
            if what != "client":
                follow(found, server, supervisor, url)
            kills.append(found)
        answers = [json.loads(each.communicate("", timeout=150)[0]) for each in clients]
        clients.clear()
        restarts = supervisor.server_restarts, supervisor.model_restarts.total()
        report(kills, answers, restarts)
        wait_for_all_places(url)
    assert [error for each in answers for error in each["errors"]] == []
    assert sum(each["finished"] for each in answers) >= CLIENTS * STREAMS_EACH
    died = [each for each in kills if each.what != "client"]
    assert all(each.ready <= each.allowed_seconds for each in died)
    assert all(each.noticed <= LIE_SECONDS for each in died)
    assert all(
        each.worked - LIE_SECONDS <= each.ready <= each.worked + LIE_SECONDS for each in died
    )
    assert restarts == (
        sum(each.what == "server" for each in kills),
        sum(each.what.startswith("muq") for each in kills),
    )


def wait_for_all_places(url: str) -> None:
    """As many streams as there are places can be open at once, so none was lost."""
    time.sleep(8)  # until those of killed clients are over
    with StreamingClient(url, patience_seconds=1) as client:
        silence = np.zeros(2_400, np.float32)
        streams = [client.stream(iter([silence] * 20), 24_000) for _ in range(MOST_STREAMS)]
        for stream in streams:
            next(stream)  # a hop, while the stream stays open
        for stream in streams:
            stream.close()


def report(kills: list[Kill], answers: list[dict[str, object]], restarts: object) -> None:
    """For ``pytest -s``."""
    died = [each for each in kills if each.what != "client"]
    print(f"\n{len(kills)} kills, restarts {restarts}, clients {answers}")
    for what in sorted({each.what for each in died}):
        of = [each for each in died if each.what == what]
        ready, noticed = [each.ready for each in of], [each.noticed for each in of]
        lies = [each.ready - each.worked for each in of]
        print(
            f"{what}: {len(of)}; ready again after {median(ready):.2f} s, at most {max(ready):.2f};"
            f" noticed after {max(noticed):.2f}; ready {min(lies):.2f} to {max(lies):.2f} s"
            f" after the first answer; load {median(each.load for each in of):.1f}"
        )
