"""Addresses of a server that sends in pieces, breaks off, stalls, or sends no audio."""

import logging
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from muqrt.common.retry import Backoff, Retry
from muqrt.errors import AudioError, MissingDependencyError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.streaming.sources import encoded, radio
from muqrt.runtime.streaming.sources.radio import from_url

RATE_HZ = 24_000
SONG = "bach_prelude_c.mp3"


Respond = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def station(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Starts a server that answers its connections with these functions in turn, and then with
    503; gives its address."""
    pytest.importorskip("av")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[ThreadingHTTPServer] = []

    def start(*responses: Respond) -> str:
        waiting = iter(responses)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                respond = next(waiting, None)
                if respond is None:
                    self.send_error(503)
                else:
                    respond(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Tests are silent."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/live"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def broadcast(data: bytes, kind: str = "audio/mpeg") -> Respond:
    """In pieces, without a length, until the connection breaks off."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.end_headers()
        for first in range(0, len(data), 4096):
            request.wfile.write(data[first : first + 4096])

    return respond


def file(data: bytes, kind: str = "audio/ogg") -> Respond:
    """With its length."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return respond


def without_length(song: bytes) -> bytes:
    """An mp3's frames without the first, which tells how many there are."""
    sync = song[song.index(b"Info") - 21 :][:2]
    return song[song.index(sync, song.index(b"Info")) :]


def test_a_broadcast_that_breaks_off_goes_on(
    station: Callable[..., str],
    music: Path,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    song = without_length((music / SONG).read_bytes())
    # The second time it begins in the middle of a packet.
    url = station(broadcast(song[:60_000]), broadcast(song[59_700:]))
    chunks, heard = from_url(url, RATE_HZ), []
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(AudioError, match=rf"{url}: it cannot be opened"),
    ):
        for chunk in chunks:
            heard.append(chunk)
    whole = audio.load(music / SONG)
    found = np.concatenate(heard)
    assert {chunk.dtype for chunk in heard} == {np.dtype(np.float32)}
    assert len(found) == pytest.approx(len(whole), abs=RATE_HZ / 2)
    assert np.sqrt(np.square(found).mean()) == pytest.approx(np.sqrt(np.square(whole).mean()), 0.1)
    # Twice it broke off, and the second time it could not be opened again for a minute.
    assert ["cannot be opened" in each for each in caplog.messages[:3]] == [False, False, True]
    first, *rest = pauses
    assert first <= 0.5 and max(rest) >= 4
    assert radio.PATIENCE_SECONDS - 8 < sum(rest) <= radio.PATIENCE_SECONDS


def test_a_broadcast_that_stalls_is_opened_again(
    station: Callable[..., str],
    music: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(encoded, "TIMEOUT_SECONDS", 1.0)
    song = without_length((music / SONG).read_bytes())
    over = Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        broadcast(song[:60_000])(request)
        over.wait(60)

    heard = 0
    with pytest.raises(AudioError, match="cannot be opened"):
        retry = Retry(Backoff(0.01, 0.01), most=3)
        for chunk in from_url(station(stall, broadcast(song)), RATE_HZ, retry=retry):
            heard += len(chunk)
    over.set()
    assert "it broke off (nothing came for 1 s)" in caplog.messages[0]
    assert heard / RATE_HZ == pytest.approx(36.8 + 36.8 * 60_000 / len(song), abs=2)


def test_a_broadcasts_samples_are_the_songs(station: Callable[..., str], music: Path) -> None:
    song = music / "ode_to_joy_band.ogg"
    chunks = from_url(station(broadcast(song.read_bytes(), "audio/ogg")), RATE_HZ)
    whole = audio.load(song)
    seconds = int(len(whole) / RATE_HZ) - 1
    found = np.concatenate(list(islice(chunks, seconds * 10)))
    np.testing.assert_allclose(found, whole[: len(found)], atol=2e-3)


def test_a_file_at_an_address_ends(
    station: Callable[..., str], music: Path, pauses: list[float]
) -> None:
    song = music / "ode_to_joy_band.ogg"
    data, whole = song.read_bytes(), audio.load(song)
    # FFmpeg looks at the file's end first, to know its length.
    url = station(*[file(data)] * 20)
    found = np.concatenate(list(from_url(url, RATE_HZ)))
    assert len(found) == pytest.approx(len(whole), abs=RATE_HZ / 10)
    assert sum(pauses) == pytest.approx(len(found) / RATE_HZ, abs=0.2)


def playlist(segment: str) -> Respond:
    """An hls playlist of one segment."""
    lines = f"#EXTM3U\n#EXT-X-TARGETDURATION:40\n#EXTINF:36.8,\n{segment}\n#EXT-X-ENDLIST\n"
    return file(lines.encode(), kind="application/vnd.apple.mpegurl")


def test_hls_is_played_but_never_a_local_file(
    station: Callable[..., str], music: Path, pauses: list[float]
) -> None:
    song = music / SONG
    segment = station(*[file(song.read_bytes(), kind="audio/mpeg")] * 9)
    found = np.concatenate(list(from_url(station(*[playlist(f"{segment}.mp3")] * 3), RATE_HZ)))
    assert len(found) == pytest.approx(len(audio.load(song)), abs=RATE_HZ / 10)
    with pytest.raises(AudioError, match="cannot be opened"):
        next(from_url(station(*[playlist(song.as_uri())] * 3), RATE_HZ))


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (broadcast(b"<html>a web page</html>" * 1000, "text/html"), "cannot be opened"),
        (broadcast(b""), "cannot be opened"),
        (lambda request: request.send_error(404), "404"),
    ],
    ids=["a page", "nothing", "404"],
)
def test_what_is_no_broadcast_is_refused_at_once(
    station: Callable[..., str], pauses: list[float], respond: Respond, message: str
) -> None:
    url = station(respond)
    with pytest.raises(AudioError, match=f"{url}: .*{message}"):
        next(from_url(url, RATE_HZ))
    assert not pauses


def hls(lines: str) -> Respond:
    return file(f"#EXTM3U\n{lines}\n".encode(), kind="application/vnd.apple.mpegurl")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("#EXT-X-STREAM-INF:BANDWIDTH=100000\n/live", "playlist of playlists"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=100000\n/live\n" * 2000, "playlist of playlists"),
        (
            "".join(f"#EXT-X-STREAM-INF:BANDWIDTH=1\n/{index}\n" for index in range(2000)),
            "names 2000 others",
        ),
        ("#EXT-X-STREAM-INF:BANDWIDTH=100000\nfile:///dev/zero", "cannot be opened"),
        ("#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/live\n#EXT-X-ENDLIST", "cannot be opened"),
        ("#EXT-X-TARGETDURATION:9\n" + "#EXTINF:9,\n/0.mp3\n" * 300_000, "longer than 4 MiB"),
    ],
    ids=["itself", "itself often", "many", "a local file", "itself as its segment", "endless"],
)
def test_a_playlist_that_has_no_end_is_refused(
    station: Callable[..., str], lines: str, message: str
) -> None:
    began = time.monotonic()
    with pytest.raises(AudioError, match=message):
        next(from_url(station(*[hls(lines)] * 20), RATE_HZ))
    assert time.monotonic() - began < 10


def test_a_live_playlist_that_stands_still_is_not_heard_again(
    station: Callable[..., str],
    music: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(encoded, "TIMEOUT_SECONDS", 1.0)
    data, heard = (music / SONG).read_bytes(), 0
    segment = station(*[file(data, kind="audio/mpeg")] * 9)
    live = hls(f"#EXT-X-TARGETDURATION:1\n#EXTINF:0.1,\n{segment}.mp3")
    with pytest.raises(AudioError, match="nothing was added to its playlist"):
        retry = Retry(Backoff(0.01, 0.01), most=3)
        for chunk in from_url(station(*[live] * 1000), RATE_HZ, retry=retry):
            heard += len(chunk)
    assert heard == pytest.approx(len(audio.load(music / SONG)), abs=RATE_HZ / 10)
    assert ["nothing was added" in each for each in caplog.messages] == [False, True, True]


def endless(first: bytes, rest: bytes, kind: str = "audio/mpeg") -> Respond:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("icy-name", "Radio Caf\u00e9")  # sent as Latin-1
        request.end_headers()
        request.wfile.write(first)
        while True:
            try:
                request.wfile.write(rest)
            except OSError:
                return

    return respond


def test_zeros_without_an_end_are_refused_in_little_memory(station: Callable[..., str]) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AudioError, match=r"cannot be opened|no audio in them"):
        next(from_url(station(endless(b"", bytes(1 << 16))), RATE_HZ))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200 << 10


def test_zeros_after_a_song_end_the_broadcast(station: Callable[..., str], music: Path) -> None:
    song, heard = without_length((music / SONG).read_bytes()), 0
    with pytest.raises(AudioError, match="no audio in them"):
        for chunk in from_url(station(endless(song, bytes(1 << 16))), RATE_HZ):
            heard += len(chunk)
    assert heard / RATE_HZ == pytest.approx(36.9, abs=1)


def test_a_stations_name_in_any_encoding_decides_nothing(
    station: Callable[..., str], music: Path
) -> None:
    song = without_length((music / SONG).read_bytes())
    for respond in (endless(song, song), file(song, "audio/mpeg; name=caf\u00e9")):
        assert len(next(from_url(station(*[respond] * 20), RATE_HZ))) == RATE_HZ // 10


def test_an_address_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setattr(encoded, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(AudioError, match=r"nothing came for 0\.2 s"):
            next(from_url(url, RATE_HZ))


def test_an_address_needs_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[av\]'"):
        next(from_url("http://127.0.0.1:1/", RATE_HZ))
