"""The microphone, played by Chromium from a WAV: what the page hears is what the file is."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import Browser, Page, expect

import muqrt

from .conftest import BUNDLE, Launch
from .visits import Visit

pytestmark = [pytest.mark.full, pytest.mark.slow]

RATE_HZ = 44_100  # of the fake device
HEARD_SECONDS = 16
# A busy machine drops sound on its way from the device; then it is heard again.
MOST_TRIES = 4
BLOCK_SAMPLES = 8192
SAME_SOUND = 1e-3
HOP_TOLERANCE = 1e-5  # of the same samples
TAG_TOLERANCE = 1e-2  # of the file
# Keeps what the audio thread hands over, mixed down.
RECORD = """
window.heard = [];
window.AudioWorkletNode = class extends AudioWorkletNode {
  constructor(...args) {
    super(...args);
    window.rateHz = this.context.sampleRate;
    const mono = (channels) =>
      channels[0].map((_, i) => channels.reduce((sum, each) => sum + each[i], 0) / channels.length);
    this.port.addEventListener("message", ({ data }) => data && window.heard.push(mono(data)));
  }
};
"""
# The constraints that a page gets which asks for none.
DEFAULTS = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = () => ask({ audio: true });
"""
# As a function of its own: the page's policy forbids what Playwright's waiting would evaluate.
WAIT = """(seconds) => new Promise((resolve) => {
  const count = () => window.heard.reduce((sum, each) => sum + each.length, 0);
  const isEnough = () => count() >= seconds * window.rateHz;
  const look = setInterval(() => isEnough() && resolve(clearInterval(look)), 100);
})"""
READ = """async () => {
  const blob = new Blob(window.heard);
  const reader = new FileReader();
  reader.readAsDataURL(blob);
  await new Promise((resolve) => { reader.onload = resolve; });
  return reader.result.split(",")[1];
}"""


@pytest.fixture(scope="module")
def played(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mono WAV at the rate of the fake device."""
    samples, rate_hz = soundfile.read(music / "ode_to_joy_band.ogg", dtype="float32")
    path = tmp_path_factory.mktemp("microphone") / "played.wav"
    mono = samples.mean(axis=1) if samples.ndim > 1 else samples
    soundfile.write(path, soxr.resample(mono, rate_hz, RATE_HZ), RATE_HZ, "PCM_16")
    return path


@pytest.fixture(scope="module")
def listening(chromium: Launch, played: Path) -> Browser:
    """A browser whose microphone plays the WAV."""
    return chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={played}",
    )


@dataclass(frozen=True)
class Heard:
    """What the page heard, what it made of it, and what it said."""

    samples: np.ndarray
    rate_hz: int
    lines: list[dict[str, Any]]
    said: str


def hear(visit: Visit, address: str) -> Heard:
    """Listen for a while."""
    heard = hear_on(visit.open(address))
    assert visit.errors == []
    return heard


def hear_on(
    page: Page, button: str = "Use the microphone", during: Callable[[], object] = lambda: None
) -> Heard:
    """Listen on a page that is ready."""
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("status")).to_contain_text("Listening to the ")
    said = page.get_by_role("status").inner_text()
    during()
    page.evaluate(WAIT, HEARD_SECONDS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("The stream is over.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    lines = Path(download.value.path()).read_text().splitlines()
    samples = np.frombuffer(base64.b64decode(page.evaluate(READ)), np.float32)
    rate_hz = page.evaluate("window.rateHz")
    return Heard(samples, rate_hz, [json.loads(line) for line in lines], said)


def nearest(heard: Heard, played: Path) -> np.ndarray:
    """The stretch of the file that is most like what was heard, at the same rate."""
    samples, rate_hz = soundfile.read(played, dtype="float32")
    if rate_hz != heard.rate_hz:
        samples = soxr.resample(samples, rate_hz, heard.rate_hz)
    length = len(heard.samples)
    padded = np.concatenate([np.zeros(length, np.float32), samples])
    size = len(padded) + length
    spectra = np.fft.rfft(padded, size), np.conj(np.fft.rfft(heard.samples, size))
    start = int(np.argmax(np.fft.irfft(spectra[0] * spectra[1], size)[: len(samples)]))
    return padded[start : start + length]


def undisturbed(heard: Heard, played: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Each hop whose window was heard without a gap, with the file's samples of that window."""
    samples, _ = soundfile.read(played, dtype="float32")
    offsets = list(block_offsets(heard.samples, samples))
    for hop in heard.lines:
        if hop["type"] != "hop":
            continue
        start, end = (round(hop[key] * heard.rate_hz) for key in ("start_seconds", "end_seconds"))
        found = set(offsets[start // BLOCK_SAMPLES : -(-end // BLOCK_SAMPLES)])
        if len(found) == 1 and (offset := found.pop()) is not None:
            yield hop, samples[start + offset : end + offset]


def block_offsets(heard: np.ndarray, samples: np.ndarray) -> Iterator[int | None]:
    """How far behind its place in what was heard each block is in the file; None if it is not."""
    size = 1 << (len(samples) + BLOCK_SAMPLES).bit_length()
    spectrum, offset = np.fft.rfft(samples, size), 0
    for start in range(0, len(heard), BLOCK_SAMPLES):
        block = heard[start : start + BLOCK_SAMPLES]

        def is_same(offset: int, start: int = start, block: np.ndarray = block) -> bool:
            there = samples[max(0, start + offset) :][: len(block)]
            return len(there) == len(block) and bool(np.abs(there - block).max() < SAME_SOUND)

        if not is_same(offset):
            products = np.fft.irfft(spectrum * np.conj(np.fft.rfft(block, size)), size)
            offset = int(np.argmax(products[: len(samples)])) - start
        yield offset if is_same(offset) else None


def largest_difference(heard: Heard, samples: np.ndarray) -> float:
    """Between what the page told and what Python says of these samples, whose hops end at the same
    times: of any tag that the page told."""
    hops = [line for line in heard.lines if line["type"] == "hop"]
    with muqrt.open_bundle(BUNDLE) as session:
        streaming = muqrt.Streaming(session)
        stream = streaming.open(heard.rate_hz)
        chunks = np.array_split(samples, len(samples) // (heard.rate_hz // 10))
        expected = [hop for chunk in chunks for hop in streaming.push(stream, chunk)]
        expected += streaming.finish(stream)
        assert session.tagging is not None
        names = session.tagging.vocabulary
    assert [hop["end_seconds"] for hop in hops] == [hop.end_seconds for hop in expected]
    differences = [
        abs(score - float(right.outputs["tags"][names.index(tag)]))
        for hop, right in zip(hops, expected, strict=True)
        for tag, score in hop["tags"].items()
    ]
    return max(differences)


def test_a_microphone_gives_the_tags_of_the_file(
    listening: Browser, address: str, played: Path
) -> None:
    for _ in range(MOST_TRIES):
        with listening.new_context() as context:
            context.add_init_script(RECORD)
            heard = hear(Visit(context.new_page()), address)
        assert heard.said.strip() == "Listening to the microphone."
        assert heard.rate_hz == RATE_HZ
        assert largest_difference(heard, heard.samples) < HOP_TOLERANCE
        if pairs := list(undisturbed(heard, played)):
            break
    assert pairs
    with muqrt.load(BUNDLE) as model:
        for hop, samples in pairs:
            scores = dict(model.tag(samples, RATE_HZ).ranking())
            expected = {tag: scores[tag] for tag in hop["tags"]}
            assert hop["tags"] == pytest.approx(expected, abs=TAG_TOLERANCE)


def test_with_the_browsers_own_constraints_it_does_not(
    listening: Browser, address: str, played: Path
) -> None:
    with listening.new_context() as context:
        context.add_init_script(RECORD + DEFAULTS)
        heard = hear(Visit(context.new_page()), address)
    assert "echo cancellation" in heard.said
    assert "noise suppression" in heard.said
    assert largest_difference(heard, heard.samples) < HOP_TOLERANCE
    assert largest_difference(heard, nearest(heard, played)) > TAG_TOLERANCE
