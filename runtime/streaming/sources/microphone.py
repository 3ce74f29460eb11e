"""Audio from a microphone or another input of the sound card, through sounddevice."""

import logging
from collections import deque
from collections.abc import Iterator
from threading import Condition
from types import ModuleType
from typing import Any

import numpy as np

from ....errors import AudioError, MissingDependencyError
from ...audio.resampler import Resampler
from .chunks import CHUNK_SECONDS

# Kept while the consumer is slow, for instance while a server restarts.
_KEPT_SECONDS = 60.0
_SILENT_SECONDS = 10.0  # without a chunk, not even of silence, before the device is given up

_log = logging.getLogger(__name__)


class ChunkQueue:
    """Chunks from a thread that cannot wait to one that may be slow.

    Args:
        most: how many may wait; beyond that the oldest are dropped.

    Attributes:
        dropped: how many were.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._chunks: deque[np.ndarray] = deque()
        self._changed = Condition()
        self._closed = False
        self.dropped = 0

    def put(self, chunk: np.ndarray) -> None:
        """Add a chunk. Never waits for the consumer."""
        with self._changed:
            if len(self._chunks) == self._most:
                self._chunks.popleft()
                self.dropped += 1
            self._chunks.append(chunk)
            self._changed.notify()

    def close(self) -> None:
        """End the queue: no more chunks follow."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout_seconds: float) -> np.ndarray | None:
        """The oldest chunk, once there is one; None when the queue is closed and empty."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._chunks or self._closed, timeout_seconds):
                raise TimeoutError
            return self._chunks.popleft() if self._chunks else None


def from_microphone(device: str | None, rate_hz: int) -> Iterator[np.ndarray]:
    """The chunks that an input records, at ``rate_hz``, without an end.

    They are recorded while the caller is busy, for a minute at most; then the oldest are dropped
    with a warning, and the chunks leave no gap for them.

    Args:
        device: its number, or a part of its name; the system's default input when None.

    Raises:
        AudioError: no such device, it cannot be used, or it stopped.
        MissingDependencyError: sounddevice, or the PortAudio library, is not installed.
    """
    sounddevice = import_sounddevice()
    which = int(device) if device and device.isdecimal() else device
    queue = ChunkQueue(round(_KEPT_SECONDS / CHUNK_SECONDS))

    def hear(samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        queue.put(samples[:, 0].copy())  # the buffer is PortAudio's

    try:
        own_rate_hz = round(sounddevice.query_devices(which, "input")["default_samplerate"])
        recording = sounddevice.InputStream(
            device=which,
            channels=1,
            samplerate=own_rate_hz,
            blocksize=round(CHUNK_SECONDS * own_rate_hz),
            dtype="float32",
            callback=hear,
            finished_callback=queue.close,
        )
        with recording:
            yield from _taken(queue, Resampler(own_rate_hz, rate_hz))
    except (ValueError, sounddevice.PortAudioError) as error:
        raise AudioError(
            f"the microphone {device or '(the default input)'}: {error}. {_inputs(sounddevice)}"
        ) from None


def _taken(queue: ChunkQueue, resampler: Resampler) -> Iterator[np.ndarray]:
    warned = 0
    try:
        while (chunk := queue.take(_SILENT_SECONDS)) is not None:
            # Said when it has doubled: someone who is always too slow is not told all the time.
            if queue.dropped > 2 * warned:
                warned = queue.dropped
                _log.warning(
                    "%.1f s of the microphone's sound were dropped: they came faster than they "
                    "could be tagged.",
                    warned * CHUNK_SECONDS,
                )
            yield resampler.push(chunk)
    except TimeoutError:
        raise AudioError(
            f"the microphone gave nothing for {_SILENT_SECONDS:g} s. Is it still plugged in?"
        ) from None
    raise AudioError("the microphone stopped. Is it still plugged in?")


def _inputs(sounddevice: ModuleType) -> str:
    """The list of inputs, for an error message."""
    found = [
        f"{index}: {each['name']}"
        for index, each in enumerate(sounddevice.query_devices())
        if each["max_input_channels"]
    ]
    return f"Inputs here: {'; '.join(found) or 'none'}."


def import_sounddevice() -> ModuleType:
    """The module sounddevice; raises MissingDependencyError without it or without PortAudio."""
    try:
        import sounddevice
    except ImportError:
        raise MissingDependencyError(
            "sounddevice is needed for the microphone. Run: pip install 'muqrt[microphone]'"
        ) from None
    except OSError as error:  # its wheels for Linux leave the library out
        raise MissingDependencyError(
            f"the microphone needs the PortAudio library ({error}). On Debian and Ubuntu: "
            "apt install libportaudio2"
        ) from None
    found: ModuleType = sounddevice
    return found
