"""The engine in Chromium gives the numbers that Python gives."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import muqrt
from muqrt.errors import SessionError
from muqrt.export.parity.excerpt import dithered
from muqrt.runtime.audio import read as audio
from muqrt.runtime.bundle.certificate import THRESHOLDS, Certificate
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE
from muqrt.runtime.bundle.tagging import TAGS, Tagging
from muqrt.runtime.engines.session import require_output
from muqrt.runtime.load import open_bundle
from muqrt.runtime.model import Model
from muqrt.runtime.streaming.documents import hop_document
from muqrt.runtime.streaming.engine import Hop, Streaming
from muqrt.runtime.streaming.events import Event, TagEvents
from muqrt.web.filters import RATES_HZ
from muqrt.web.proof import prove_site

from .conftest import Launch
from .engine_page import EnginePage
from .visits import Visit, static_host

RATE_HZ = 44_100  # of the clip
SAME_SAMPLES, SAME_HOPS, SAME_FILE, OTHER_LENGTH = 1e-4, 1e-5, 5e-4, 2e-2


@pytest.fixture(scope="module")
def engine(chromium: Launch, address: str) -> EnginePage:
    """The engine of the shipped bundle's site."""
    return EnginePage(chromium().new_page(), address)


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    """The same bundle in Python."""
    with muqrt.load(threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def clip(music: Path) -> np.ndarray:
    """Four seconds of silence and eight of music, in stereo at 44.1 kHz.

    Dithered as music of 16 bits is: in bands that are emptier any two programs of single
    precision have their own rounding noise.
    """
    music_itself, rate_hz = soundfile.read(music / "greensleeves_duo.flac", dtype="float32")
    assert rate_hz == RATE_HZ
    left = music_itself.reshape(len(music_itself), -1)[: 8 * rate_hz, 0]
    found = dithered(np.stack([left, np.roll(left, 4_410)]))
    return np.pad(found, [(0, 0), (4 * rate_hz, 0)])


def worst(found: dict[str, float], expected: dict[str, float]) -> float:
    """The largest difference of a tag."""
    assert found.keys() == expected.keys()
    return max(abs(found[tag] - expected[tag]) for tag in found)


def test_a_short_clip_and_a_stream_of_it(engine: EnginePage, model: Model) -> None:
    waveform = audio.load(Path(muqrt.__file__).parent / "examples/audio/ode_to_joy_band.ogg")
    waveform = waveform[: 3 * 24_000]
    found = engine.tag(waveform, 24_000)
    assert worst(found["scores"], dict(model.tag(waveform, 24_000).ranking())) <= SAME_SAMPLES
    live = engine.stream(np.array_split(waveform, 7), 24_000)
    check_stream(live, stream_hops(waveform, 24_000, 7), model)
    assert engine.info["largestDifference"] <= SAME_SAMPLES


def stream_hops(waveform: np.ndarray, rate_hz: int, chunks: int) -> list[Hop]:
    """The hops of the shipped bundle in Python."""
    with open_bundle(SHIPPED_BUNDLE, threads=1) as session:
        streaming = Streaming(session)
        live = streaming.open(rate_hz)
        pushed = np.array_split(waveform, chunks, axis=-1)
        hops = [hop for chunk in pushed for hop in streaming.push(live, chunk)]
        return hops + streaming.finish(live)


def check_stream(live: dict, hops: list[Hop], model: Model) -> None:
    updates = live["updates"]
    times = [(each["hop"]["start_seconds"], each["hop"]["end_seconds"]) for each in updates]
    assert times == [(hop.start_seconds, hop.end_seconds) for hop in hops]
    assert [each["hop"]["silent"] for each in updates] == [hop.is_silent for hop in hops]
    found, expected = (
        np.array([each["scores"] for each in updates]),
        np.array([hop.outputs[TAGS] for hop in hops]),
    )
    assert np.abs(found - expected).max() <= SAME_HOPS
    # Events of the browser's own scores, so that a score on its threshold decides nothing.
    tagging = require_output(model.session, Tagging)
    events, told = TagEvents(tagging), []
    for each, hop, scores in zip(updates, hops, found.astype(np.float32), strict=True):
        same = replace(hop, outputs={TAGS: scores})
        told += events.push(same)
        latency = {"latency_seconds": each["hop"]["latency_seconds"]}
        assert each["hop"] == hop_document(tagging, same) | latency
    told += events.finish(hops[-1].end_seconds)
    ours = [event for each in updates for event in each["events"]] + live["events"]
    kinds = ["event" if isinstance(each, Event) else "silence" for each in told]
    assert ours == [
        {"type": kind, **each._asdict()} for kind, each in zip(kinds, told, strict=True)
    ]
    assert live["segments"]["silences"] == [list(each) for each in events.silences]


@pytest.mark.full
def test_stereo_with_silence_at_another_rate(
    engine: EnginePage, model: Model, clip: np.ndarray
) -> None:
    found, expected = engine.tag(clip, RATE_HZ), model.tag(clip, RATE_HZ)
    assert worst(found["scores"], dict(expected.ranking())) <= SAME_SAMPLES
    assert found["seconds"] == expected.seconds
    edges = [0.0, *(each["end_seconds"] for each in found["windows"])]
    assert edges == expected.edges_seconds.tolist()
    live = engine.stream(np.array_split(clip, 61, axis=1), RATE_HZ)
    check_stream(live, stream_hops(clip, RATE_HZ, 61), model)
    assert live["updates"][0]["hop"]["silent"]


@pytest.mark.full
@pytest.mark.parametrize("rate_hz", RATES_HZ[1:])
def test_every_rate(engine: EnginePage, model: Model, clip: np.ndarray, rate_hz: int) -> None:
    """But for 8 kHz: two thirds of the spectrum are empty then, and hold every program's own
    rounding noise, which moves a tag by 5.4e-4 though the resampled samples are the same bits."""
    waveform = dithered(audio.from_array(clip[0, 4 * RATE_HZ : 8 * RATE_HZ], RATE_HZ, rate_hz))
    expected = dict(model.tag(waveform, rate_hz).ranking())
    assert worst(engine.tag(waveform, rate_hz)["scores"], expected) <= SAME_FILE


@pytest.mark.full
def test_files_that_the_browser_decodes(
    engine: EnginePage, model: Model, music: Path, clip: np.ndarray, tmp_path: Path
) -> None:
    wav = tmp_path / "clip.wav"
    soundfile.write(wav, clip.T, 44_100, "PCM_24")
    for path in [wav, *sorted(music.glob("*.*"))]:
        if path.suffix == ".md" or path.suffix == ".py":
            continue
        limit = OTHER_LENGTH if path.suffix == ".m4a" else SAME_FILE
        expected = dict(model.tag(path).ranking())
        assert worst(engine.tag_file(path)["scores"], expected) <= limit, path.name


@pytest.mark.full
@pytest.mark.parametrize("rate_hz", [48_000, 96_000])
def test_mp4_tells_rates_that_its_16_bits_do_not_hold(
    engine: EnginePage, model: Model, clip: np.ndarray, tmp_path: Path, rate_hz: int
) -> None:
    av = pytest.importorskip("av", reason="pip install 'muqrt[av]'")
    path = tmp_path / "clip.mp4"
    samples = audio.from_array(clip[:, 4 * RATE_HZ :].mean(axis=0), RATE_HZ, rate_hz)
    soundfile.write(tmp_path / "clip.flac", samples, rate_hz)
    with av.open(str(tmp_path / "clip.flac")) as flac, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(flac.streams.audio[0])
        for packet in flac.demux():
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    expected = dict(model.tag(path).ranking())
    assert worst(engine.tag_file(path)["scores"], expected) <= SAME_FILE


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.wav", b"RIFF" + b"\0" * 100, "cannot decode|not a wav"),
        ("notes.txt", b"no music at all, " * 20, "not a wav"),
        ("empty.mp3", b"", "not a wav"),
        ("cut.ogg", b"OggS" + b"\0" * 22 + b"\x1e" + b"\1" * 30 + b"\1vorbis", "not a wav"),
    ],
)
def test_what_is_no_music_is_refused(
    engine: EnginePage, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Exception, match=words):
        engine.tag_file(tmp_path / name)


@pytest.mark.full
@pytest.mark.parametrize("damage", ["changed", "shorter", "missing"])
def test_another_file_than_the_manifest_lists_is_refused(
    chromium: Launch, site: Path, tmp_path: Path, damage: str
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    path = json.loads((copy / "model/site.json").read_text())["encoder"]["path"]
    encoder = copy / "model" / path
    content = encoder.read_bytes()
    if damage == "missing":
        encoder.unlink()
    else:
        encoder.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) * (damage == "changed"))
    words = "cannot be loaded .HTTP 404" if damage == "missing" else "SHA-256 differs"
    with static_host(copy) as address, pytest.raises(Exception, match=words):
        EnginePage(chromium().new_page(), address)


@pytest.mark.full
def test_a_site_proves_itself_in_chromium(site: Path, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: apt-get install chromium")
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    certificate, speed = prove_site(load_bundle(SHIPPED_BUNDLE), copy)
    assert certificate.passed
    assert certificate.worst.largest_tag_change <= THRESHOLDS["fp32"].largest_tag_change
    assert "Chrome/" in certificate.environment["browser"]
    assert min(asdict(speed).values()) > 0
    stored = json.loads((copy / "model/site.json").read_text())["certificate"]
    assert Certificate.model_validate(stored) == certificate
    # The page that is served fails: its weights are no longer those of the manifest.
    weights = copy / "model/muq.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(SessionError, match="SHA-256 differs"):
        prove_site(load_bundle(SHIPPED_BUNDLE), copy)


@pytest.mark.full
def test_a_closed_model_answers_no_more(visit: Visit, address: str) -> None:
    engine = EnginePage(visit.page, address)
    visit.page.evaluate("window.model.close()")
    with pytest.raises(Exception, match="has been closed"):
        engine.stream([np.zeros(1000)], 24_000)


@pytest.mark.full
def test_without_the_rate_a_stream_is_refused(engine: EnginePage) -> None:
    with pytest.raises(Exception, match="Convert the audio to 48000 Hz"):
        engine.stream([np.zeros(1000)], 12_345)
