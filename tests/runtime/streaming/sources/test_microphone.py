"""A microphone: its queue, and what is made of a sound card's blocks."""

import sys
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from muqrt.errors import AudioError, MissingDependencyError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.streaming.sources import microphone
from muqrt.runtime.streaming.sources.microphone import ChunkQueue, from_microphone

RATE_HZ = 24_000
SONG = "bach_prelude_c.mp3"


def chunk_of(value: float) -> np.ndarray:
    return np.full(3, value, np.float32)


def test_a_full_queue_drops_the_oldest() -> None:
    queue = ChunkQueue(most=3)
    for value in range(5):
        queue.put(chunk_of(value))
    assert queue.dropped == 2
    queue.close()
    taken = [queue.take(1), queue.take(1), queue.take(1)]
    np.testing.assert_array_equal(taken, [chunk_of(value) for value in (2, 3, 4)])
    assert queue.take(1) is None


def test_an_empty_queue_waits_for_a_thread() -> None:
    queue = ChunkQueue(most=3)
    with pytest.raises(TimeoutError):
        queue.take(0.01)
    Thread(target=lambda: queue.put(chunk_of(7))).start()
    np.testing.assert_array_equal(queue.take(10), chunk_of(7))
    Thread(target=queue.close).start()
    assert queue.take(10) is None


class SoundCard(ModuleType):
    """In the place of sounddevice: inputs of 48 kHz that hear a second of a rising tone at once."""

    class PortAudioError(Exception):
        pass

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        inputs = [
            {"name": "Speakers", "max_input_channels": 0},
            {"name": "USB Audio", "max_input_channels": 2, "default_samplerate": 48_000.0},
        ]
        if kind is None:
            return inputs
        if device not in (None, 1, "USB Audio"):
            raise ValueError(f"No input device matching {device!r}")
        return inputs[1]

    def InputStream(self, **arguments: Any) -> "Recording":
        return Recording(**arguments)


class Recording:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    def __enter__(self) -> None:
        self.closed = False
        buffer = np.zeros((self.arguments["blocksize"], 1), np.float32)
        for block in np.split(tone(), 10):
            buffer[:, 0] = block  # the same memory again and again, as PortAudio does it
            self.arguments["callback"](buffer, len(buffer), None, None)
        self.arguments["finished_callback"]()

    def __exit__(self, *error: object) -> None:
        self.closed = True


def tone() -> np.ndarray:
    seconds = np.arange(48_000) / 48_000
    return np.sin(2 * np.pi * (200 + 300 * seconds) * seconds).astype(np.float32)


@pytest.mark.parametrize("device", [None, "1", "USB Audio"])
def test_a_microphone_is_heard_at_the_models_rate(
    monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", SoundCard("sounddevice"))
    heard = []
    with pytest.raises(AudioError, match="the microphone stopped"):
        for chunk in from_microphone(device, RATE_HZ):
            heard.append(chunk)
    found = np.concatenate(heard)
    whole = audio.from_array(tone(), 48_000, RATE_HZ)
    assert len(found) > 0.9 * RATE_HZ
    np.testing.assert_allclose(found, whole[: len(found)], atol=1e-5)


def test_an_unknown_microphone_is_told_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", SoundCard("sounddevice"))
    with pytest.raises(AudioError, match=r"No input device matching 'x'. Inputs here: 1: USB Aud"):
        next(from_microphone("x", RATE_HZ))


def test_someone_too_slow_is_warned_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", SoundCard("sounddevice"))
    monkeypatch.setattr(microphone, "_KEPT_SECONDS", 0.3)
    with pytest.raises(AudioError, match="stopped"):
        list(from_microphone(None, RATE_HZ))
    assert [each.split(" of ")[0] for each in caplog.messages] == ["0.7 s"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (ImportError("sounddevice"), r"pip install 'muqrt\[microphone\]'"),
        (OSError("PortAudio library not found"), "libportaudio2"),
    ],
)
def test_a_microphone_needs_its_packages(
    monkeypatch: pytest.MonkeyPatch, missing: Exception, message: str
) -> None:
    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "sounddevice":
            raise missing
        return imported(name, *arguments, **options)

    imported = __import__
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(MissingDependencyError, match=message):
        next(from_microphone(None, RATE_HZ))
