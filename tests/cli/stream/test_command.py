"""``muqrt stream``: lines as they happen, Ctrl-C that loses nothing, a sentence for a mistake."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.cli.stream.report import event_line, segment_lines
from muqrt.cli.stream.source import Source
from muqrt.errors import AudioError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.streaming.engine import Hop
from muqrt.runtime.streaming.events import Event, Smoothing, TagEvents
from muqrt.runtime.streaming.local import LocalStreams

Command = Callable[..., CompletedProcess[str]]

MUQRT = [sys.executable, "-m", "muqrt"]
RATE_HZ = 24_000
SONG = "greensleeves_duo.flac"


@pytest.fixture(scope="module")
def hops(tagged_bundle: Path, music: Path) -> list[Hop]:
    """The song's, in the same chunks as the command's."""
    song = audio.load(music / SONG)
    chunks = (song[first : first + 2_400] for first in range(0, len(song), 2_400))
    with LocalStreams(tagged_bundle, None, None, {}) as local:
        return list(local.stream(chunks, RATE_HZ))


def events_of(
    bundle: Path, hops: list[Hop], threshold: float, smoothing: Smoothing
) -> tuple[list[Event], list[Event]]:
    """All events, and the segments among them."""
    with LocalStreams(bundle, None, 1, {}) as local:
        limits = [threshold] * len(local.tagging.vocabulary)
        tagging = local.tagging.model_copy(update={"thresholds": limits})
    events = TagEvents(tagging, smoothing)
    found = [event for hop in hops for event in events.push(hop)]
    return found + events.finish(hops[-1].end_seconds), events.segments


def test_lines_are_what_begins_and_ends(
    muqrt: Command, tagged_bundle: Path, music: Path, hops: list[Hop]
) -> None:
    smoothing = ["--minimum-seconds", "0.5", "--release", "0.9", "--threshold", "0.6"]
    done = muqrt("stream", music / SONG, "-b", tagged_bundle, "--fast", *smoothing)
    assert (done.returncode, done.stderr) == (0, "")
    events, segments = events_of(tagged_bundle, hops, 0.6, Smoothing(0.5, 0.9))
    assert len(events) > 3
    lines = done.stdout.splitlines()
    assert lines[: len(events)] == [event_line(event) for event in events]
    assert f"{SONG}: {hops[-1].end_seconds:.1f} s: " in lines[len(events)]
    shown = "\n".join(lines[len(events) :])
    assert all(f"{start:.1f}-{end:.1f}" in shown for _, start, end, _ in segments)


def test_json_is_a_document_for_each_hop_and_event(
    muqrt: Command, tagged_bundle: Path, music: Path, hops: list[Hop]
) -> None:
    options = ["--json", "--threshold", "0.6", "--top", "2", "--fast", "--threads", "all"]
    done = muqrt("stream", music / SONG, "-b", tagged_bundle, *options)
    assert (done.returncode, done.stderr) == (0, "")
    documents = [json.loads(line, parse_constant=pytest.fail) for line in done.stdout.splitlines()]
    told: dict[str, list[Any]] = {"hop": [], "event": [], "segments": []}
    for each in documents:
        told[each.pop("type")].append(each)
    events, segments = events_of(tagged_bundle, hops, 0.6, Smoothing())
    assert told["event"] == [event._asdict() for event in events]
    assert len(told["hop"]) == len(hops)
    for each, hop in zip(told["hop"], hops, strict=True):
        assert (each["start_seconds"], each["end_seconds"]) == (hop.start_seconds, hop.end_seconds)
        scores = sorted((float(each) for each in hop.outputs["tags"]), reverse=True)
        assert list(each["tags"].values()) == [score for score in scores[:2] if score >= 0.6]
        assert each["latency_seconds"] > 0
    (end,) = told["segments"]
    assert end["audio"] == str(music / SONG)
    assert end["seconds"] == hops[-1].end_seconds
    stretches = {(tag, *each) for tag, found in end["segments"].items() for each in found}
    assert stretches == {(tag, start, stop) for tag, start, stop, _ in segments}
    assert documents[-1] is end


def test_the_windows_are_as_asked(muqrt: Command, tagged_bundle: Path, music: Path) -> None:
    lengths = ["--hop-seconds", "1", "--window-seconds", "3", "--first-seconds", "1"]
    done = muqrt("stream", music / SONG, "-b", tagged_bundle, "--json", "--fast", *lengths)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    spans = [(d["start_seconds"], d["end_seconds"]) for d in documents if d["type"] == "hop"]
    assert spans[:5] == [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5)]


def start(*words: object) -> "subprocess.Popen[str]":
    command = [*MUQRT, *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def test_ctrl_c_ends_the_stream_and_tells_the_segments(tagged_bundle: Path, music: Path) -> None:
    options = ["--json", "--threshold", "0", "--minimum-seconds", "0", "--first-seconds", "0.5"]
    process = start("stream", music / SONG, "-b", tagged_bundle, *options)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    documents = [json.loads(line) for line in rest.splitlines()]
    assert first["type"] == "hop"
    assert documents[-1]["type"] == "segments"
    # Of 11 s, played in time.
    assert 0.5 <= documents[-1]["seconds"] < 8
    assert documents[-1]["segments"]["guitar"] == [[0, documents[-1]["seconds"]]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["silent", "stalled"])
def test_a_signal_ends_a_stream_that_waits_for_its_address(
    tagged_bundle: Path, number: signal.Signals, answer: bytes
) -> None:
    pytest.importorskip("av")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/live.mp3"
        process = start("stream", url, "-b", tagged_bundle)
        connection, _ = server.accept()
        with connection:
            connection.sendall(answer)
            time.sleep(0.2)
            process.send_signal(number)
            # Sooner than the address itself is given up, after 10 s.
            _, errors = process.communicate(timeout=8)
    assert "Traceback" not in errors


def test_a_damaged_file_is_said_and_refused_when_strict(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE_HZ)
    soundfile.write(path, noise, RATE_HZ)
    os.truncate(path, 44 + 2 * round(3.6 * RATE_HZ))
    command = ("stream", path, "-b", tagged_bundle, "--fast")
    done = muqrt(*command)
    assert done.returncode == 0
    assert f"DAMAGED {path}: 0.40 s of 4.00 s left out: its header promises 4.0 s" in done.stdout
    last = json.loads(muqrt(*command, "--json").stdout.splitlines()[-1])
    assert last["damage"]["lost_seconds"] == pytest.approx(0.4, abs=1e-3)
    assert muqrt(*command, "--strict").returncode == 3


def test_a_reader_that_goes_ends_the_stream(tagged_bundle: Path, music: Path) -> None:
    process = start("stream", music / SONG, "-b", tagged_bundle, "--json", "--first-seconds", "0.5")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_what_was_heard_of_a_damaged_file_is_told(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path
) -> None:
    song = tmp_path / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 6 * RATE_HZ)
    soundfile.write(song, noise, RATE_HZ)
    os.truncate(song, 4 * 2 * RATE_HZ)
    done = muqrt("stream", song, "-b", tagged_bundle, "--fast", "--threshold", "0")
    assert done.returncode == 3
    assert "guitar ends (0.0 to 3.9 s)" in done.stdout
    assert done.stderr.startswith(f"muqrt: {song}: cut short")


@pytest.mark.parametrize(
    ("words", "function", "arguments"),
    [
        (["http://a.fm/live"], "radio.from_url", ("http://a.fm/live", RATE_HZ, True)),
        (
            ["https://a.fm/x.mp3", "--fast"],
            "radio.from_url",
            ("https://a.fm/x.mp3", RATE_HZ, False),
        ),
        (["--microphone"], "microphone.from_microphone", (None, RATE_HZ)),
        (["--microphone", "USB Audio"], "microphone.from_microphone", ("USB Audio", RATE_HZ)),
    ],
)
def test_other_sources(
    muqrt: Command,
    tagged_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    function: str,
    arguments: tuple[object, ...],
) -> None:
    asked = []

    def chunks(*given: object) -> Iterator[np.ndarray]:
        asked.append(given)
        yield np.zeros(2 * RATE_HZ, np.float32)
        raise AudioError("it was unplugged.")

    monkeypatch.setattr(f"muqrt.runtime.streaming.sources.{function}", chunks)
    done = muqrt("stream", *words, "-b", tagged_bundle)
    assert asked == [arguments]
    assert (done.returncode, done.stderr) == (3, "muqrt: it was unplugged.\n")
    name = "microphone" if words == ["--microphone"] else words[-1 if "--fast" not in words else 0]
    assert f"{name}: 2.0 s: " in done.stdout


def text(path: Path) -> Path:
    path.write_text("Once upon a time. " * 100)
    return path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["stream", "-b", "{bundle}"], 2, "say what to listen to"),
        (["stream", "{song}", "-b", "{bundle}", "--server", "localhost:1"], 2, "choose one"),
        (["stream", "--microphone", "--fast", "-b", "{bundle}"], 2, "drop --fast"),
        (["stream", "{song}", "--server", "localhost:1", "--hop-seconds", "1"], 2, "--hop-seconds"),
        (["stream", "{song}", "--server", "localhost:1", "--threads", "1"], 2, "are for --bundle"),
        (["stream", "{song}", "-b", "{bundle}", "--model", "muq"], 2, "are for --server"),
        (["stream", "{song}", "-b", "{bundle}", "--hop-seconds", "3"], 2, "at most the window's"),
        (["stream", "{song}", "-b", "{bundle}", "--release", "0"], 2, "it must be above 0"),
        (["stream", "{song}", "-b", "{bundle}", "--threshold", "2"], 2, ""),
        (["stream", "{gone}", "-b", "{bundle}"], 3, "no such file"),
        (["stream", "{text}", "-b", "{bundle}"], 3, "not audio"),
        (["stream", "{short}", "-b", "{bundle}", "--fast"], 3, "too short: 0.021 s"),
        (["stream", "{song}", "-b", "{plain}"], 3, "this model has no tags"),
        (["stream", "{song}", "-b", "{gone}"], 3, "muqrt export"),
        (["stream", "{song}", "--server", "localhost:1"], 3, "muqrt serve"),
    ],
)
def test_each_mistake_is_a_sentence(
    muqrt: Command,
    tagged_bundle: Path,
    tiny_bundle: Path,
    music: Path,
    tmp_path: Path,
    words: list[str],
    code: int,
    message: str,
) -> None:
    if "localhost:1" in words:
        pytest.importorskip("tritonclient.grpc")
    soundfile.write(tmp_path / "short.wav", np.zeros(500), RATE_HZ)
    places = {
        "bundle": tagged_bundle,
        "plain": tiny_bundle,
        "song": music / SONG,
        "gone": tmp_path / "gone",
        "text": text(tmp_path / "text.wav"),
        "short": tmp_path / "short.wav",
    }
    done = muqrt(*(word.format_map(places) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_name_that_is_no_text() -> None:
    assert Source(os.fsdecode(b"caf\xe9.flac"), False, True).name == "caf\\udce9.flac"


def test_the_tag_heard_longest_comes_first() -> None:
    segments = [
        Event("piano", 0.0, 2.0, 0.9),
        Event("[b]drums", 1.0, 5.5, 0.8),
        Event("piano", 3.0, 4.0, 0.7),
    ]
    events = SimpleNamespace(segments=segments, silences=[])
    heading, found = segment_lines("radio", 6.0, events)
    assert heading == "radio: 6.0 s: [b]drums, piano"
    assert found.rows == [["[b]drums", "1.0-5.5"], ["piano", "0.0-2.0, 3.0-4.0"]]
    nothing = SimpleNamespace(segments=[], silences=[])
    assert list(segment_lines("radio", 6.0, nothing)) == ["radio: 6.0 s: unsure"]


def test_a_silent_stream_is_told_apart(muqrt: Command, tagged_bundle: Path, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, np.zeros(6 * RATE_HZ, np.int16), RATE_HZ)
    options = ["-b", tagged_bundle, "--fast", "--threshold", "0"]
    done = muqrt("stream", song, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "0.0 s  silence begins",
        "6.0 s  silence ends (0.0 to 6.0 s)",
        f"{song}: 6.0 s: silent",
    ]
    told = muqrt("stream", song, *options, "--json").stdout
    documents = [json.loads(each) for each in told.splitlines()]
    hops = [each for each in documents if each["type"] == "hop"]
    assert hops and all(each["silent"] and each["tags"] == {} for each in hops)
    assert [each for each in documents if each["type"] in ("event", "silence")] == [
        {"type": "silence", "start_seconds": 0.0, "end_seconds": None},
        {"type": "silence", "start_seconds": 0.0, "end_seconds": 6.0},
    ]
    assert documents[-1]["silent"] and documents[-1]["segments"] == {}


def test_a_pause_ends_every_tag(muqrt: Command, tagged_bundle: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE_HZ)
    song = tmp_path / "song.wav"
    soundfile.write(song, np.concatenate([noise, np.zeros(8 * RATE_HZ), noise]), RATE_HZ)
    done = muqrt("stream", song, "-b", tagged_bundle, "--fast", "--threshold", "0", "--json")
    documents = [json.loads(each) for each in done.stdout.splitlines()]
    (pause,) = documents[-1]["silences"]
    # Windows of 2 s are silent from a second into the pause to a second before its end.
    assert pause == pytest.approx([6, 12], abs=0.3)
    assert not documents[-1]["silent"]
    for first, second in documents[-1]["segments"].values():
        assert (first[0], first[1]) == (0.0, pause[0])
        assert (second[0], second[1]) == (pause[1], 18.0)
