"""Live sound over WebSockets: the command's hops and events, resumed, bounded, shared."""

import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.gateway.limits import GatewayLimits
from muqrt.gateway.server import Gateway
from muqrt.triton_repo.front.tokens import Tokens

from ..until import until
from .conftest import Held, Start

sync = pytest.importorskip("websockets.sync.client", reason="pip install 'muqrt[web]'")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402


def opened(gateway: Gateway, query: str, **options: Any) -> Any:
    url = f"ws://127.0.0.1:{gateway.port}/v1/stream?{query}"
    return sync.connect(url, proxy=None, compression=None, **options)


def told(client: Any, most: int | None = None) -> list[dict[str, Any]]:
    """The messages to come: to the last, or so many."""
    found: list[dict[str, Any]] = []
    try:
        while most is None or len(found) < most:
            found.append(json.loads(client.recv(timeout=60)))
    except ConnectionClosed:
        pass
    return found


def timeless(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    return [
        {name: value for name, value in each.items() if name not in ("latency_seconds", "audio")}
        for each in documents
    ]


def samples_of(clip: Path) -> tuple[np.ndarray, int]:
    samples, rate_hz = soundfile.read(clip, dtype="int16")
    return samples, rate_hz


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture
def expected(
    clip: Path, tagged_bundle: Path, muqrt: Callable[..., CompletedProcess[str]]
) -> list[dict[str, Any]]:
    """What the command says of the clip."""
    lines = muqrt("stream", clip, "-b", tagged_bundle, "--fast", "--threads", 1, "--json").stdout
    found = timeless([json.loads(line) for line in lines.splitlines()])
    return [{**each, "model": "tiny"} if "model" in each else each for each in found]


@pytest.mark.parametrize("kind", ["f32", "s16"])
def test_a_stream_is_told_what_the_command_tells(
    kind: str, start: Start, clip: Path, expected: list[dict[str, Any]]
) -> None:
    samples, rate_hz = samples_of(clip)
    data = samples if kind == "s16" else samples.astype(np.float32) / np.float32(2**15)
    with opened(start(), f"format={kind}&rate={rate_hz}&channels={_channels(samples)}") as client:
        begun = json.loads(client.recv())
        assert (begun["type"], begun["samples"], begun["received"]) == ("session", 0, 0)
        for chunk in chunks(data.tobytes(), 16_000):
            client.send(chunk)
        client.send("end")
        found = told(client)
    assert client.close_code == 1000
    assert [each["type"] for each in found] == [each["type"] for each in expected]
    _assert_close(timeless(found), expected)


def _channels(samples: np.ndarray) -> int:
    return 1 if samples.ndim == 1 else samples.shape[1]


def _assert_close(found: Any, expected: Any) -> None:
    """Equal, but for rounding: chunks of other lengths are resampled and batched otherwise."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            _assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected


def test_an_encoded_stream_is_decoded_as_it_comes(
    start: Start, clip: Path, expected: list[dict[str, Any]]
) -> None:
    av = pytest.importorskip("av")
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:  # as MediaRecorder writes it
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(mono[None], "flt", "mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler("flt", "mono", 48_000, frame_size=960)
        for each in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(each))
        container.mux(track.encode(None))
    with opened(start(), "format=encoded") as client:
        begun = json.loads(client.recv())
        assert begun["bytes"] == 0
        for chunk in chunks(file.getvalue(), 2_000):
            client.send(chunk)
        client.send("end")
        found = told(client)
    assert found[-1]["type"] == "segments", found[-1]
    assert found[-1]["seconds"] == pytest.approx(4.0, abs=0.05)
    hops = [each for each in found if each["type"] == "hop"]
    assert len(hops) >= len([each for each in expected if each["type"] == "hop"]) - 1


def test_a_stream_goes_on_where_its_socket_broke_off(
    start: Start, clip: Path, expected: list[dict[str, Any]]
) -> None:
    gateway, (samples, rate_hz) = start(), samples_of(clip)
    size = 2 * _channels(samples)
    data, query = samples.tobytes(), f"format=s16&rate={rate_hz}&channels={_channels(samples)}"
    first = opened(gateway, query)
    session = json.loads(first.recv())["session"]
    middle = len(data) // size * 3 // 4
    first.send(data[: middle * size])
    found = told(first, 2)
    first.socket.shutdown(socket.SHUT_RDWR)
    with opened(gateway, f"session={session}&received=2") as second:
        begun = json.loads(second.recv())
        assert begun["session"] == session and 0 < begun["samples"] <= middle
        for chunk in chunks(data[begun["samples"] * size :], 30_000):
            second.send(chunk)
        second.send("end")
        found += told(second)
    _assert_close(timeless(found), expected)
    until(lambda: "gateway_streams 0\n" in gateway.metrics_text())
    with opened(gateway, f"session={session}&received=0") as late:
        assert told(late)[0]["status"] == 404
        assert late.close_code == 4404


def test_a_message_that_is_cut_off_is_asked_for_again(start: Start, session: Held) -> None:
    gateway = start(drain_seconds=0.1)
    session.gate.clear()
    try:
        with opened(gateway, "rate=24000") as first:
            begun = json.loads(first.recv())
            first.send(np.zeros(20 * 24_000, "<f4").tobytes())
            assert session.entered.wait(60)
            with opened(gateway, f"session={begun['session']}") as second:
                samples = json.loads(second.recv())["samples"]
            assert 0 < samples < 20 * 24_000 and samples % 24_000 == 0
    finally:
        session.gate.set()


def test_a_half_open_socket_is_taken_over(start: Start) -> None:
    gateway = start()
    with opened(gateway, "rate=24000") as first:
        session = json.loads(first.recv())["session"]
        with opened(gateway, f"session={session}") as second:
            assert json.loads(second.recv())["session"] == session
            assert told(first) == [] and first.close_code == 1001
            second.send("end")
            assert told(second)[-1]["status"] == 422  # nothing had come


@pytest.mark.parametrize(
    ("query", "message", "status", "reason"),
    [
        ("format=mp3&rate=1", None, 400, "format: one of f32, s16, encoded"),
        ("", None, 400, "rate: say how many samples"),
        ("rate=10", None, 400, "a sample rate of 10 Hz"),
        ("rate=24000&channels=9", None, 400, "channels: must be a number from 1 to 8"),
        ("rate=24000&volume=1", None, 400, "unknown, or given twice"),
        ("rate=24000&threshold=2", None, 400, "threshold: must be"),
        ("session=x", None, 404, "no such session"),
        ("rate=24000", b"\0" * 5, 422, "send whole samples of 4"),
        ("rate=24000", np.full(9000, np.nan, "<f4").tobytes(), 422, "NaN or infinite"),
        ("rate=24000", "stop", 400, "the only text message is: end"),
        ("rate=24000", "end", 422, "stream: "),
        ("format=encoded", b"#EXTM3U\nhttp://localhost/x\n" * 9000, 422, "not audio"),
    ],
)
def test_what_cannot_be_used_is_told(
    query: str, message: Any, status: int, reason: str, start: Start
) -> None:
    gateway = start()
    with opened(gateway, query) as client:
        if message is not None:
            client.recv()
            client.send(message)
            if query == "format=encoded":
                client.send("end")
        last = told(client)[-1]
    assert (last["type"], last["status"], reason in last["error"]) == ("error", status, True), last
    until(lambda: "gateway_streams 0\n" in gateway.metrics_text())


def test_slots_are_shared_and_come_back(start: Start) -> None:
    limits = GatewayLimits(streams=4, resume_seconds=0.1)
    gateway = start(limits=limits)
    with ExitStack() as stack:
        mine = [stack.enter_context(opened(gateway, "rate=24000")) for _ in range(3)]
        answers = [json.loads(each.recv()) for each in mine]
        assert [each["type"] for each in answers] == ["session", "session", "error"]
        assert answers[2]["status"] == 429
    # They vanished: their slots come back once nobody has resumed them.
    until(lambda: "gateway_streams 0\n" in gateway.metrics_text())
    assert "gateway_streams_expired_total 2\n" in gateway.metrics_text()
    with opened(gateway, "rate=24000") as client:
        assert json.loads(client.recv())["type"] == "session"


def test_a_client_that_says_nothing_is_let_go(start: Start) -> None:
    gateway = start(limits=GatewayLimits(idle_seconds=0.1))
    with opened(gateway, "rate=24000") as client:
        assert told(client)[-1]["status"] == 408
    until(lambda: "gateway_streams 0\n" in gateway.metrics_text())


def test_sound_is_taken_as_fast_as_it_is_heard(start: Start, session: Held) -> None:
    gateway = start(drain_seconds=0.1)
    session.gate.clear()
    second = np.zeros(24_000, "<f4").tobytes()
    client = opened(gateway, "rate=24000", open_timeout=60)
    try:
        client.socket.settimeout(1.0)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        with pytest.raises((TimeoutError, ConnectionClosed)):
            for _ in range(500):  # 48 MB, which nobody holds
                client.send(second)
    finally:
        session.gate.set()
        client.socket.close()


def test_a_stop_tells_the_rest_of_a_stream(start: Start, clip: Path) -> None:
    gateway, (samples, rate_hz) = start(drain_seconds=2.0), samples_of(clip)
    query = f"format=s16&rate={rate_hz}&channels={_channels(samples)}"
    with opened(gateway, query) as client:
        client.recv()
        client.send(samples.tobytes())
        told(client, 1)
        gateway.close()
        last = told(client)[-1]
    assert last["type"] == "segments"
    assert last["seconds"] == pytest.approx(4.0, abs=0.01)


def test_a_token_comes_in_a_header_or_a_protocol(start: Start, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("b" * 32)
    gateway = start(drain_seconds=0.1, tokens=Tokens(tmp_path / "tokens"))
    with pytest.raises(InvalidStatus, match="401"):
        opened(gateway, "rate=24000")
    with pytest.raises(InvalidStatus, match="401"):
        opened(gateway, "rate=24000", subprotocols=["muqrt", f"bearer.{'c' * 32}"])
    header = {"authorization": f"Bearer {'b' * 32}"}
    with opened(gateway, "rate=24000", additional_headers=header) as client:
        assert json.loads(client.recv())["type"] == "session"
    with opened(gateway, "rate=24000", subprotocols=["muqrt", f"bearer.{'b' * 32}"]) as client:
        assert (client.subprotocol, json.loads(client.recv())["type"]) == ("muqrt", "session")


def test_pages_of_other_origins_open_no_stream(start: Start) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        opened(start(), "rate=24000", origin="https://other.example")
