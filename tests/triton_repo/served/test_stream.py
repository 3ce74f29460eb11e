"""Live tags from a real server: equal to local ones, and clear refusals of bad requests."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import open_bundle
from muqrt.runtime.streaming.engine import Streaming
from muqrt.triton_repo.contract.stream import StreamOptions
from muqrt.triton_repo.repository.write import write_stream_repository
from muqrt.triton_repo.server.process import Server

from .held import all_cancelled_but_the_last

pytestmark = pytest.mark.server

OPTIONS = StreamOptions(max_streams=24, idle_seconds=6.0, threads=1)


@pytest.fixture(scope="module")
def live_server(tagged_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the live model. Leave no stream behind."""
    folder = tmp_path_factory.mktemp("live")
    write_stream_repository(load_bundle(tagged_bundle), folder / "models", options=OPTIONS)
    # It does not stop before the streams of vanished clients are over, or this time is.
    limits = {"start_timeout_seconds": 120, "exit_timeout_seconds": 1}
    with Server(folder / "models", log=folder / "log", **limits) as running:
        yield running


@pytest.fixture
def client(live_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(live_server.grpc_url) as connection:
        yield connection


def send(
    client: triton.InferenceServerClient,
    stream_id: int | str,
    start: bool = False,
    end: bool = False,
    **inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One request, unchecked; the tags and the seconds of its hops."""
    answer = client.infer("muq_stream", **request(stream_id, start, end, **inputs))
    return answer.as_numpy("tags")[0], answer.as_numpy("seconds")[0]


def request(stream_id: int | str, start: bool, end: bool, **inputs: np.ndarray) -> dict[str, Any]:
    """What ``infer`` is called with."""
    tensors = []
    for name, array in inputs.items():
        tensor = triton.InferInput(name, (1, *array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array[None])
        tensors.append(tensor)
    return {
        "inputs": tensors,
        "sequence_id": stream_id,
        "sequence_start": start,
        "sequence_end": end,
    }


def test_silence_is_told(live_server: Server, client: triton.InferenceServerClient) -> None:
    hops = metrics(live_server)["hops_total"]
    for level, silent in ((0.0, True), (0.1, False)):
        chunk = np.full(24_000, level, np.float32)
        asked = request(77, True, True, waveform=chunk)
        answer = client.infer("muq_stream", **asked)
        np.testing.assert_array_equal(answer.as_numpy("silent"), [[silent]])
        assert answer.as_numpy("tags").any() != silent
    wait_for(live_server, "hops_total", hops + 2)


def whole(samples: int = 24_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def metrics(server: Server) -> dict[str, float]:
    """The model's, without the prefix and the labels."""
    with urlopen(server.metrics_url) as page:
        lines = [line for line in page.read().decode().splitlines() if line.startswith("muqrt_")]
    return {line.partition("{")[0][6:]: float(line.split()[-1]) for line in lines}


def wait_for(server: Server, name: str, value: float) -> dict[str, float]:
    """The metrics, once this one is so and the others have followed."""
    deadline = time.monotonic() + 60
    while (found := metrics(server))[name] != value:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    time.sleep(0.2)
    return metrics(server)


def played(
    server: Server, stream_id: int | str, audio: np.ndarray, rate_hz: int, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """All tags and seconds of a stream in such chunks."""
    name = "pcm" if audio.dtype == np.int16 else "waveform"
    answers = []
    with triton.InferenceServerClient(server.grpc_url) as client:
        for index, first in enumerate(range(0, len(audio), chunk)):
            inputs = {name: audio[first : first + chunk], "chunk_index": np.array([index])}
            if index == 0:
                inputs["rate_hz"] = np.array([rate_hz], np.int32)
            answers.append(send(client, stream_id, start=index == 0, **inputs))
        answers.append(send(client, stream_id, end=True))
    tags, seconds = zip(*answers, strict=True)
    return np.concatenate(tags), np.concatenate(seconds)


def test_streamed_tags_equal_local_ones(live_server: Server, tagged_bundle: Path) -> None:
    pcm = (whole(150_000, 3) * 32_767).astype(np.int16)
    streams = {
        1: (whole(100_000, 1), 24_000, 12_000),
        2: (whole(100_000, 2), 24_000, 1_777),
        "id, as text": (pcm, 44_100, 22_050),
        2**63 - 1: (pcm, 48_000, 150_000),
        5: (whole(24_000, 5), 24_000, 24_000),
    }
    before = metrics(live_server)
    with ThreadPoolExecutor(len(streams)) as pool:
        waiting = {each: pool.submit(played, live_server, each, *streams[each]) for each in streams}
        found = {each: answer.result() for each, answer in waiting.items()}
    hops = 0
    with open_bundle(tagged_bundle) as session:
        streaming = Streaming(session)
        for each, (audio, rate_hz, _) in streams.items():
            stream = streaming.open(rate_hz)
            expected = streaming.push(stream, audio) + streaming.finish(stream)
            tags, seconds = found[each]
            spans = [(hop.start_seconds, hop.end_seconds) for hop in expected]
            np.testing.assert_array_equal(seconds, spans)
            scores = [hop.outputs["tags"] for hop in expected]
            np.testing.assert_allclose(tags, scores, atol=1e-5)
            hops += len(spans)
    after = wait_for(live_server, "hops_total", before["hops_total"] + hops)
    assert after["live_streams"] == 0
    assert after["streams_opened_total"] - before["streams_opened_total"] == len(streams)
    audio_seconds = sum(len(audio) / rate_hz for audio, rate_hz, _ in streams.values())
    added = after["stream_seconds_total"] - before["stream_seconds_total"]
    assert added == pytest.approx(audio_seconds)
    assert after["stream_busy_seconds_total"] > before["stream_busy_seconds_total"]


CHUNK = whole(4_800)
NAN = np.full(4_800, np.nan, np.float32)
# The stream, START and END, what is sent, and what the server says of it.
BAD = [
    (2, (0, 0), {"waveform": NAN}, "INVALID_ARGUMENT", "stream 2: NaN"),
    (2, (0, 0), {"waveform": CHUNK * np.float32(np.inf)}, "INVALID_ARGUMENT", "a sample of inf"),
    (2, (0, 0), {"waveform": CHUNK[:0]}, "INVALID_ARGUMENT", "no samples"),
    (2, (0, 0), {"waveform": whole(240_001)}, "INVALID_ARGUMENT", "at most 240000"),
    (2, (0, 0), {"waveform": CHUNK.astype(np.float64)}, "INVALID_ARGUMENT", "data-type"),
    (2, (0, 0), {"waveform": CHUNK.reshape(2, -1)}, "INVALID_ARGUMENT", "shape"),
    (2, (0, 0), {"waveform": CHUNK, "chunk_index": np.array([3])}, "INVALID_ARGUMENT", "order"),
    (2, (0, 0), {"waveform": CHUNK, "chunk_index": np.array([0])}, "INVALID_ARGUMENT", "order"),
    (2, (0, 0), {"waveform": CHUNK, "pcm": np.ones(9, np.int16)}, "INVALID_ARGUMENT", "both"),
    (2, (0, 0), {"chunk_index": np.array([1])}, "INVALID_ARGUMENT", "neither"),
    (2, (0, 0), {}, "INVALID_ARGUMENT", "neither"),
    (3, (0, 0), {"waveform": CHUNK}, "INVALID_ARGUMENT", "must specify the START flag"),
    (3, (1, 1), {"waveform": CHUNK[:9]}, "INVALID_ARGUMENT", "too short"),
    (4, (1, 0), {"waveform": NAN}, "INVALID_ARGUMENT", "NaN"),
    (4, (0, 0), {"waveform": CHUNK}, "NOT_FOUND", "no such stream 4"),
    (4, (0, 1), {}, "NOT_FOUND", "no such stream 4"),
    ("5", (1, 1), {"waveform": CHUNK, "rate_hz": np.array([7], np.int32)}, "INVALID_ARGUMENT", "7"),
    (0, (1, 0), {"waveform": CHUNK}, "INVALID_ARGUMENT", "non-zero"),
]


def test_what_one_client_does_wrong_harms_no_other(
    live_server: Server, client: triton.InferenceServerClient
) -> None:
    before = metrics(live_server)["streams_opened_total"]
    expected = played(live_server, 1, np.tile(CHUNK, len(BAD) + 1), 24_000, len(CHUNK))
    answers = [send(client, 1, start=True, waveform=CHUNK)]
    send(client, 2, start=True, waveform=CHUNK)
    for stream_id, (start, end), inputs, status, message in BAD:
        with pytest.raises(InferenceServerException, match=message) as refusal:
            send(client, stream_id, bool(start), bool(end), **inputs)
        assert refusal.value.status() == f"StatusCode.{status}"
        answers.append(send(client, 1, waveform=CHUNK))
    answers.append(send(client, 1, end=True))
    # The client that did wrong may go on, too.
    send(client, 2, waveform=CHUNK, chunk_index=np.array([1]))
    send(client, 2, end=True, waveform=CHUNK)
    for ours, theirs in zip(map(np.concatenate, zip(*answers, strict=True)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    # Opened were 1, twice, 2, 3, and 4, whose first chunk was then refused.
    assert wait_for(live_server, "streams_opened_total", before + 5)["live_streams"] == 0
    assert live_server.models() == {"muq_stream": "READY"}


def test_a_second_start_begins_a_new_stream(
    live_server: Server, client: triton.InferenceServerClient
) -> None:
    before = metrics(live_server)["streams_restarted_total"]
    send(client, 1, start=True, waveform=whole(40_000, 1))
    _, seconds = send(client, 1, start=True, waveform=whole(50_000, 2))
    np.testing.assert_array_equal(seconds, [(0, 2)])
    send(client, 1, end=True)
    assert wait_for(live_server, "streams_restarted_total", before + 1)["live_streams"] == 0


def test_a_stream_whose_start_was_cancelled_can_be_ended(
    live_server: Server, client: triton.InferenceServerClient
) -> None:
    before = metrics(live_server)["streams_opened_total"]
    starts = [request(each, True, False, waveform=CHUNK) for each in (11, 12, 13)]
    _, others = all_cancelled_but_the_last(live_server, "muq_stream", starts)
    assert others == ["StatusCode.CANCELLED"] * 2
    # The front lets the server finish what it has, and so with all three.
    assert wait_for(live_server, "live_streams", 3)["streams_opened_total"] == before + 3
    for each in (11, 12, 13):
        send(client, each, end=True, waveform=CHUNK)
    assert wait_for(live_server, "live_streams", 0)["streams_opened_total"] == before + 3


def test_vanished_clients_lose_their_streams_and_too_many_are_refused(
    live_server: Server, client: triton.InferenceServerClient
) -> None:
    before = metrics(live_server)

    def begin(stream_id: int) -> bool:
        try:
            send(client, stream_id, start=True, waveform=CHUNK)
        except InferenceServerException as refusal:
            assert refusal.status() == "StatusCode.UNAVAILABLE"
            assert "too many live streams: 24 of 24" in str(refusal.message())
            return False
        if stream_id % 3:
            send(client, stream_id, end=True, waveform=CHUNK)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(begin, range(1, 37)))
        # 12 have vanished. Of 18 more that begin and do not end, 6 find no place.
        assert sum(pool.map(begin, range(900, 954, 3))) == 12
    assert live_server.models() == {"muq_stream": "READY"}
    after = wait_for(live_server, "streams_expired_total", before["streams_expired_total"] + 24)
    assert after["live_streams"] == 0
    assert after["streams_opened_total"] - before["streams_opened_total"] == 48
    assert after["streams_refused_total"] - before["streams_refused_total"] == 6
    with pytest.raises(InferenceServerException, match=r"no such stream 3:|specify the START"):
        send(client, 3, waveform=CHUNK)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(begin, range(2, 20, 3)))
