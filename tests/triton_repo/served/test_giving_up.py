"""Clients that give up end nothing: the server goes on, and the others get their answers."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import ServerError
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.triton_repo.client.session import TritonSession
from muqrt.triton_repo.client.streaming import StreamingClient
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.front.front import Front
from muqrt.triton_repo.repository.write import write_repository, write_stream_repository
from muqrt.triton_repo.server.process import Server

from ...fronted import fronted
from ...until import until
from .leaving import TIMES_SECONDS, give_up, infer_request

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'muqrt[server]'")
pytestmark = pytest.mark.server

RATE_HZ = 24_000
MOST_STREAMS = 16
HONEST, LEAVING = 4, 6


@pytest.fixture(scope="module")
def server(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, bundle = tmp_path_factory.mktemp("left"), load_bundle(tagged_bundle)
    write_repository(bundle, folder / "models")
    options = StreamOptions(max_streams=MOST_STREAMS, idle_seconds=1.5, threads=1)
    write_stream_repository(bundle, folder / "models", options=options)
    limits = {"start_timeout_seconds": 120, "exit_timeout_seconds": 1}
    with Server(folder / "models", log=folder / "log", **limits) as running:
        yield running


@pytest.fixture
def front(server: Server) -> Iterator[Front]:
    with fronted(server) as front:
        yield front


def pieces(samples: int = 60_000) -> Iterator[np.ndarray]:
    song = np.random.default_rng(0).normal(scale=0.1, size=samples).astype(np.float32)
    yield from (song[start : start + 7_000] for start in range(0, samples, 7_000))


def leave(url: str, times: int, seed: int) -> None:
    """Leave streams, and calls in every other way."""
    rng = random.Random(seed)
    request = infer_request("muq", np.zeros((1, 24_000), np.float32))
    with StreamingClient(url, patience_seconds=0) as client:
        for _ in range(times):
            client.timeout_seconds = rng.choice(TIMES_SECONDS)
            with suppress(ServerError):
                list(client.stream(pieces(), RATE_HZ))
            give_up(url, request, rng)


def be_answered(url: str, seed: int, done: threading.Event) -> int:
    """Ask until it is done; how often that was."""
    audio = np.random.default_rng(seed).normal(scale=0.1, size=(1, 24_000)).astype(np.float32)
    answers = 0
    with TritonSession(url) as session:
        first = session.run({"waveform": audio})["embedding"]
        while not answers or not done.is_set():
            again = session.run({"waveform": audio})["embedding"]
            np.testing.assert_allclose(again, first, atol=1e-5)
            answers += 1
    return answers


@pytest.mark.parametrize("times", [8, pytest.param(400, marks=pytest.mark.full)])
def test_clients_that_give_up_end_nothing(times: int, front: Front, server: Server) -> None:
    url, pid, done = str(front.grpc_url), server.pid, threading.Event()
    with ThreadPoolExecutor(HONEST + LEAVING) as pool:
        honest = [pool.submit(be_answered, url, seed, done) for seed in range(HONEST)]
        leaving = [pool.submit(leave, url, times, seed) for seed in range(LEAVING)]
        try:
            for each in leaving:
                each.result()
        finally:
            done.set()
        assert min(each.result() for each in honest) > 0
    server.check()
    assert server.pid == pid
    until(lambda: front.admission.running == front.admission.waiting == 0)
    # No place for a stream is lost: those that were left are over when they have been idle.
    with StreamingClient(url, patience_seconds=60) as client:
        streams = [client.stream(pieces(), RATE_HZ) for _ in range(MOST_STREAMS)]
        assert [next(each).start_seconds for each in streams] == [0.0] * MOST_STREAMS
        for each in streams:
            each.close()  # type: ignore[attr-defined]
