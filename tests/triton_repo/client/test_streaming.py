"""Live tags from a real server: the local ones, whatever happens to client and server."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from subprocess import CompletedProcess
from threading import Event, Thread

import numpy as np
import pytest

from muqrt.errors import AudioError, ServerError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.streaming.engine import Hop
from muqrt.runtime.streaming.local import LocalStreams
from muqrt.triton_repo.client.connection import BusyError, GoneError
from muqrt.triton_repo.client.streaming import StreamingClient
from muqrt.triton_repo.client.streaming_async import AsyncStreamingClient
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.repository.write import write_stream_repository
from muqrt.triton_repo.server.process import Server

from ...fronted import fronted

pytestmark = pytest.mark.server

RATE_HZ = 24_000
MOST_STREAMS = 2


@pytest.fixture(scope="module")
def live_models(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that takes two live streams at once."""
    folder = tmp_path_factory.mktemp("live") / "models"
    options = StreamOptions(max_streams=MOST_STREAMS, threads=1)
    write_stream_repository(load_bundle(tagged_bundle), folder, options=options)
    return folder


@pytest.fixture(scope="module")
def live_server(live_models: Path, tagged_bundle: Path) -> Iterator[Server]:
    with Server(live_models, log=live_models.parent / "log", start_timeout_seconds=120) as running:
        yield running


@pytest.fixture(scope="module")
def live_url(live_server: Server) -> Iterator[str | None]:
    with fronted(live_server) as front:
        yield front.grpc_url


@pytest.fixture
def client(live_url: str) -> Iterator[StreamingClient]:
    with StreamingClient(live_url, patience_seconds=5) as connected:
        yield connected


@pytest.fixture(scope="module")
def song(music: Path) -> np.ndarray:
    """5.3 s at 24 kHz."""
    return audio.load(music / "greensleeves_duo.flac")[:127_200]


@pytest.fixture(scope="module")
def expected(tagged_bundle: Path, song: np.ndarray) -> list[Hop]:
    with LocalStreams(tagged_bundle, None, 1, {}) as local:
        return list(local.stream(pieces(song), RATE_HZ))


def pieces(song: np.ndarray, samples: int = 7_000) -> Iterator[np.ndarray]:
    yield from (song[..., i : i + samples] for i in range(0, song.shape[-1], samples))


def same(found: list[Hop], expected: list[Hop], atol: float = 1e-5) -> None:
    spans = [
        [(h.start_seconds, h.end_seconds, h.is_last) for h in hops] for hops in (found, expected)
    ]
    assert spans[0] == spans[1]
    for ours, local in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.outputs["tags"], local.outputs["tags"], atol=atol)


def no_stream_is_left(client: StreamingClient, song: np.ndarray) -> None:
    """As many streams as the server takes can begin at once, so that no other is live."""
    impatient = StreamingClient(client._connection.url, patience_seconds=0)
    with impatient:
        streams = [impatient.stream(pieces(song), RATE_HZ) for _ in range(MOST_STREAMS)]
        assert [next(each).start_seconds for each in streams] == [0.0] * MOST_STREAMS


@pytest.mark.parametrize("samples", [1_111, 24_000, 127_200])
def test_served_hops_are_the_local_ones(
    client: StreamingClient, song: np.ndarray, expected: list[Hop], samples: int
) -> None:
    same(list(client.stream(pieces(song, samples), RATE_HZ)), expected)
    assert client.tagging.vocabulary[0] == "guitar"
    assert client.sliding.window_seconds == 2


def test_other_rates_and_channels_and_integers(
    client: StreamingClient, tagged_bundle: Path, song: np.ndarray
) -> None:
    stereo = (np.stack([song, -song / 2]) * 30_000).astype(np.int16)
    with LocalStreams(tagged_bundle, None, 1, {}) as local:
        expected = list(local.stream(pieces(stereo), 44_100))
    same(list(client.stream(pieces(stereo), 44_100)), expected)


def test_a_stream_that_is_left_is_ended(client: StreamingClient, song: np.ndarray) -> None:
    streams = [client.stream(pieces(song), RATE_HZ) for _ in range(MOST_STREAMS)]
    for each in streams:
        next(each)
        each.close()  # type: ignore[attr-defined]
    no_stream_is_left(client, song)

    def breaking() -> Iterator[np.ndarray]:
        yield song
        raise KeyboardInterrupt

    for _ in range(MOST_STREAMS):
        with pytest.raises(KeyboardInterrupt):
            list(client.stream(breaking(), RATE_HZ))
    no_stream_is_left(client, song)
    for _ in range(MOST_STREAMS):
        with pytest.raises(AudioError, match="chunk: NaN"):
            list(client.stream([song, song * np.nan], RATE_HZ, "chunk"))
    no_stream_is_left(client, song)


def test_closing_the_client_ends_its_streams(live_url: str, song: np.ndarray) -> None:
    with StreamingClient(live_url) as client:
        left = [client.stream(pieces(song), RATE_HZ) for _ in range(MOST_STREAMS)]
        for each in left:
            next(each)
    with StreamingClient(live_url) as other:
        no_stream_is_left(other, song)
    with pytest.raises(ServerError, match="is closed"):
        list(left[0])


def test_a_full_server_is_waited_for(client: StreamingClient, song: np.ndarray) -> None:
    others = [client.stream(pieces(song), RATE_HZ) for _ in range(MOST_STREAMS)]
    for each in others:
        next(each)
    with (
        StreamingClient(client._connection.url, patience_seconds=0.3) as impatient,
        pytest.raises(BusyError, match="takes no more live streams now"),
    ):
        next(impatient.stream(pieces(song), RATE_HZ))
    waiting = client.stream(pieces(song), RATE_HZ)
    leaving = Thread(target=lambda: (time.sleep(0.3), others[0].close()))  # type: ignore[attr-defined]
    leaving.start()
    assert next(waiting).end_seconds == 2
    leaving.join()
    for each in (waiting, others[1]):
        each.close()  # type: ignore[attr-defined]
    no_stream_is_left(client, song)


def test_two_streams_at_once(
    client: StreamingClient, song: np.ndarray, expected: list[Hop]
) -> None:
    async def chunks() -> AsyncIterator[np.ndarray]:
        for piece in pieces(song):
            await asyncio.sleep(0)
            yield piece

    async def hear(client: AsyncStreamingClient) -> list[Hop]:
        return [hop async for hop in client.stream(chunks(), RATE_HZ)]

    async def hear_two() -> list[list[Hop]]:
        async with AsyncStreamingClient(client._connection.url) as both:
            return await asyncio.gather(hear(both), hear(both))

    for found in asyncio.run(hear_two()):
        same(found, expected)


def test_an_asynchronous_stream_that_is_left_or_cancelled_is_ended(
    client: StreamingClient, song: np.ndarray
) -> None:
    async def chunks() -> AsyncIterator[np.ndarray]:
        yield song
        await asyncio.sleep(3600)

    async def leave(left: AsyncStreamingClient) -> None:
        for _ in range(MOST_STREAMS):
            async with aclosing(left.stream(chunks(), RATE_HZ)) as hops:  # type: ignore[type-var]
                await anext(hops)

    async def cancel(left: AsyncStreamingClient) -> None:
        async def hear() -> None:
            async for _ in left.stream(chunks(), RATE_HZ):
                heard.set()

        heard = asyncio.Event()
        task = asyncio.create_task(hear())
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def check(leaving: Callable[[AsyncStreamingClient], object]) -> None:
        async with AsyncStreamingClient(client._connection.url, patience_seconds=0) as left:
            await leaving(left)  # type: ignore[misc]
            await asyncio.to_thread(no_stream_is_left, client, song)

    asyncio.run(check(leave))
    asyncio.run(check(cancel))


def test_no_answer_in_time(live_url: str, song: np.ndarray) -> None:
    with StreamingClient(live_url) as client:
        client.timeout_seconds = 1e-6
        with pytest.raises(ServerError, match="did not answer in time"):
            next(client.stream(pieces(song), RATE_HZ))
    with StreamingClient(live_url) as other:
        no_stream_is_left(other, song)


def test_what_the_server_refuses_is_told(client: StreamingClient) -> None:
    with pytest.raises(ServerError, match=r"too short: 0\.021 s"):
        list(client.stream([np.zeros(500, np.float32)], RATE_HZ))


def test_a_replaced_server_changes_nothing(
    live_models: Path, tmp_path: Path, song: np.ndarray, expected: list[Hop]
) -> None:
    first = Server(live_models, log=tmp_path / "log")
    second = Server(live_models, log=tmp_path / "log2")
    second.grpc_port = first.grpc_port
    waiting, replaced = Event(), Event()

    async def chunks() -> AsyncIterator[np.ndarray]:
        for index, piece in enumerate(pieces(song)):
            if index == 12:
                waiting.set()
                await asyncio.to_thread(replaced.wait)
            yield piece

    async def hear() -> list[Hop]:
        async with AsyncStreamingClient(front.grpc_url) as client:
            return [hop async for hop in client.stream(chunks(), RATE_HZ)]

    with (
        ThreadPoolExecutor() as threads,
        first,
        fronted(first) as front,
        StreamingClient(front.grpc_url) as client,
    ):
        asynchronous = threads.submit(asyncio.run, hear())
        hops = client.stream(pieces(song), RATE_HZ)
        found = [next(hops), next(hops), next(hops)]
        assert waiting.wait(60)
        os.killpg(first.pid, signal.SIGKILL)
        replaced.set()
        first.stop()
        with second:
            same(found + list(hops), expected)
            same(asynchronous.result(), expected)


def test_no_server_and_no_live_model(live_url: str, server: Server) -> None:
    with pytest.raises(GoneError, match=r"localhost:1 cannot be reached(.|\n)*muqrt serve"):
        StreamingClient("localhost:1")
    with pytest.raises(ServerError, match="serves no model 'nothing'"):
        StreamingClient(live_url, "nothing")
    with pytest.raises(ServerError, match=r"'muq' at .* is not a live model"):
        StreamingClient(server.grpc_url, "muq")

    async def enter(url: str) -> None:
        async with AsyncStreamingClient(url):
            raise AssertionError("it cannot be entered")

    with pytest.raises(GoneError, match="cannot be reached"):
        asyncio.run(enter("localhost:1"))


def test_the_command_says_the_same_of_a_server(
    muqrt: Callable[..., CompletedProcess[str]],
    live_url: str,
    tagged_bundle: Path,
    music: Path,
) -> None:
    song = music / "greensleeves_duo.flac"
    documents = []
    for place in (["--server", live_url], ["--bundle", tagged_bundle]):
        done = muqrt("stream", song, *place, "--fast", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        documents.append([json.loads(line) for line in done.stdout.splitlines()])
    served, local = documents
    assert [each["type"] for each in served] == [each["type"] for each in local]
    assert served[-1].pop("model") == live_url
    assert local[-1].pop("model") == load_bundle(tagged_bundle).source.checkpoint
    assert served[-1] == local[-1]
    done = muqrt("stream", song, "--server", live_url, "--model", "nothing")
    assert (done.returncode, done.stdout) == (3, "")
    assert "serves no model 'nothing'" in done.stderr
