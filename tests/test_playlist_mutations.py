"""Damaged playlists, at an address and in a file: audio or an error of ours, and no local file."""

import io
import random
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.common.retry import Backoff, Retry
from muqrt.errors import AudioError
from muqrt.runtime.streaming.sources import encoded
from muqrt.runtime.streaming.sources.chunks import from_file
from muqrt.runtime.streaming.sources.radio import from_url

from .mutations import damaged_bytes, few_or_many, refused_or_read

pytest.importorskip("av")

RATE_HZ = 24_000
LOUDEST = 0.5  # at the address; what lies on this machine is louder
MOST_CHUNKS = 200  # of a playlist that has no end

MEDIA = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:1
#EXT-X-MEDIA-SEQUENCE:0
#EXTINF:1.0,
0.mp3
#EXTINF:1.0,
1.mp3
#EXT-X-DISCONTINUITY
#EXTINF:1.0,
2.mp3
"""
PLAYLISTS = {
    "ended.m3u8": MEDIA + "#EXT-X-ENDLIST\n",
    "live.m3u8": MEDIA,
    "ranges.m3u8": MEDIA.replace("1.0,\n", "1.0,\n#EXT-X-BYTERANGE:4000@0\n") + "#EXT-X-ENDLIST\n",
    "master.m3u8": """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="ended.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2",AUDIO="a"
ended.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=128000
ranges.m3u8
""",
    "songs.m3u": "#EXTM3U\n#EXTINF:1,Somebody - A song\n0.mp3\n#EXTINF:-1,Radio\n1.mp3\n",
    "plain.m3u": "0.mp3\n1.mp3\n",
    "radio.pls": "[playlist]\nNumberOfEntries=1\nFile1=0.mp3\nTitle1=A song\nLength1=-1\n",
}
HLS = [name for name in PLAYLISTS if name.endswith("m3u8")]
KINDS = ["application/vnd.apple.mpegurl", "audio/x-mpegurl", "audio/x-scpls", "text/plain"]
NUMBERS = ["-1", "0", "nan", "1e308", "0.0001", str(2**31), str(2**63), "9" * 400, ""]
LINES = [
    "#EXT-X-ENDLIST",
    "#EXT-X-TARGETDURATION:{number}",
    "#EXT-X-MEDIA-SEQUENCE:{number}",
    "#EXTINF:{number},",
    "#EXT-X-BYTERANGE:{number}@{number}",
    '#EXT-X-MAP:URI="{target}",BYTERANGE="{number}@0"',
    '#EXT-X-KEY:METHOD=AES-128,URI="{target}",IV=0x{number}',
    "#EXT-X-KEY:METHOD=SAMPLE-AES",
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="b",URI="{target}"',
    "#EXT-X-STREAM-INF:BANDWIDTH={number}\n{target}",
    "#EXT-X-I-FRAMES-ONLY",
    "{target}",
]


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, tuple[str, bytes]]]]:
    """A server's address, and what it serves: the kind and the bytes by name."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(encoded, "TIMEOUT_SECONDS", 0.5)
    served: dict[str, tuple[str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.get(self.path[1:])
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(found[1])))
            self.end_headers()
            self.wfile.write(found[1])

        def log_message(self, format: str, *arguments: Any) -> None:
            """Tests are silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]  # gone away
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", served
    server.shutdown()
    server.server_close()


def noise(seed: int, loudest: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-loudest, loudest, RATE_HZ)


def mp3(seed: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(seed, 0.05), RATE_HZ, format="MP3")
    return buffer.getvalue()


def changed_lines(text: str, targets: list[str], chance: random.Random) -> str:
    """A playlist of which some lines are gone, doubled, elsewhere, or name something else."""
    lines = text.splitlines()
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines) + 1)
        choice = chance.randrange(6)
        if choice == 0 and at < len(lines):
            del lines[at]
        elif choice == 1 and at < len(lines):
            lines[at:at] = [lines[at]] * chance.choice([1, 3, 2_000])
        elif choice == 2:
            chance.shuffle(lines)
        else:
            made = chance.choice(LINES).format(
                number=chance.choice(NUMBERS), target=chance.choice(targets)
            )
            lines[at : at + chance.randint(0, 1)] = [made]
    return "\n".join(lines) + "\n"


@few_or_many
def test_playlists(
    cases: int, address: tuple[str, dict[str, tuple[str, bytes]]], tmp_path: Path
) -> None:
    url, served = address
    songs = {f"{index}.mp3": ("audio/mpeg", mp3(index)) for index in range(3)}
    local = tmp_path / "local.wav"
    soundfile.write(local, noise(9, 1.0), RATE_HZ)
    elsewhere = ["http://127.0.0.1:1/0.mp3", "file:/etc/passwd", "/dev/zero", "", "x" * 10_000]
    protocols = ["concat:", "subfile,,start,0,end,0,,:", "crypto:", "async:", "data:audio/mpeg,"]
    paths = [local.as_uri(), str(local), *(f"{each}{local}" for each in protocols)]
    heard = dict.fromkeys(PLAYLISTS, 0)

    def try_one(chance: random.Random) -> None:
        served.clear()
        served.update(songs)
        served.update((name, (KINDS[0], text.encode())) for name, text in PLAYLISTS.items())
        name = chance.choice([*PLAYLISTS, *HLS, *HLS])
        targets = [*PLAYLISTS, *songs, *elsewhere, *paths]
        data = changed_lines(PLAYLISTS[name], targets, chance).encode()
        if chance.random() < 0.25:
            data = damaged_bytes(PLAYLISTS[name].encode(), chance)
        served[name] = chance.choice(KINDS), data
        # What it names may be damaged, too.
        is_sound = chance.random() < 0.8
        if not is_sound:
            song = chance.choice(list(songs))
            served[song] = songs[song][0], damaged_bytes(songs[song][1], chance)
        if chance.random() < 0.2:
            (tmp_path / name).write_bytes(data)
            chunks = from_file(tmp_path / name, RATE_HZ, real_time=False)
        else:
            retry = Retry(Backoff(0.01, 0.01), most=1)
            chunks = from_url(url + name, RATE_HZ, real_time=False, retry=retry)
        is_heard = False
        with closing(chunks):  # type: ignore[type-var]
            try:
                for chunk in islice(chunks, MOST_CHUNKS):
                    is_heard = True
                    assert np.isfinite(chunk).all()
                    assert np.abs(chunk).max() < LOUDEST or not is_sound
            except AudioError:
                if not is_heard:
                    raise
        heard[name] += 1

    counts = refused_or_read(cases, try_one)
    print(heard)
    assert counts["read"] > cases / 10 and counts["refused"] > cases / 10
