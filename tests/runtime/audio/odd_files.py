"""Sound files as they lie about: joined, cut, with junk in them; and what FFmpeg makes of them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from muqrt.runtime.audio import read as audio
from muqrt.runtime.audio.damage import Damage, Tolerance
from muqrt.runtime.audio.readers.ffmpeg import AUDIO_FORMATS, frame_samples

SECONDS = 3.0


def music(seconds: float = SECONDS, rate_hz: int = 44_100, channels: int = 2) -> np.ndarray:
    """Float32 (samples, channels): a chord that fades again and again, and a little noise."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    fading = np.exp(-3 * (time % 0.5))[:, None]
    phases = np.arange(channels)
    chord = sum(np.sin(2 * np.pi * hz * time[:, None] + phases) for hz in (220, 277.2, 329.6))
    noise = np.random.default_rng(0).normal(0, 0.01, (len(time), channels))
    found: np.ndarray = (0.2 * fading * chord + noise).astype(np.float32)
    return found


def encoded(
    samples: np.ndarray, rate_hz: int = 44_100, kind: str = "MP3", **options: object
) -> bytes:
    """A file's bytes; kinds and options as soundfile's."""
    file = io.BytesIO()
    format, _, subtype = kind.partition(" ")
    soundfile.write(file, samples, rate_hz, subtype or None, format=format, **options)
    return file.getvalue()


def uncounted(mp3: bytes) -> bytes:
    """An mp3 without its tags and its first frame, which counts the others."""
    mark = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    sync = mp3[max(0, mark - 36) : mark].rindex(b"\xff", 0, -8)
    header = mp3[max(0, mark - 36) + sync :][:2]
    return mp3[mp3.index(header, mark) :]


def ffmpeg_samples(path: Path) -> np.ndarray:
    """The truth: what FFmpeg decodes, mono at 24 kHz, each stretch of a rate resampled alone."""
    stretches: list[tuple[int, list[np.ndarray]]] = []
    for rate_hz, samples in _ffmpeg_frames(path):
        if not stretches or stretches[-1][0] != rate_hz:
            stretches.append((rate_hz, []))
        stretches[-1][1].append(samples.mean(axis=1))
    parts = [audio.from_array(np.concatenate(found), rate_hz) for rate_hz, found in stretches]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _ffmpeg_frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    import av

    options = {"format_whitelist": AUDIO_FORMATS}
    with av.open(str(path), options=options, metadata_errors="replace") as container:
        if not container.streams.audio:
            return
        try:
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                yield from ((each.sample_rate, frame_samples(each)) for each in frames)
        except av.FFmpegError:
            return


class Heard:
    """What was said of the files that were read."""

    def __init__(self, most_lost_share: float = Tolerance.most_lost_share) -> None:
        self.damages: list[tuple[str, Damage]] = []
        self.tolerance = Tolerance(most_lost_share, lambda *said: self.damages.append(said))

    @property
    def lost_seconds(self) -> float:
        return sum(damage.lost_seconds for _, damage in self.damages)
