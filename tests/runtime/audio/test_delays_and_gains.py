"""An encoder's delay is cut off, a header's gain is applied, and six channels are averaged."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from muqrt.runtime.audio import read as audio

from .odd_files import encoded, ffmpeg_samples, music

pytest.importorskip("av")

SECONDS = 3.0
SONG = music(SECONDS)


def lag(found: np.ndarray, expected: np.ndarray, most: int = 3_000) -> int:
    """By how many samples the first is late."""
    size = 1 << (len(expected) + len(found)).bit_length()
    product = np.fft.rfft(found, size) * np.conj(np.fft.rfft(expected, size))
    correlation = np.fft.irfft(product, size)
    lags = np.concatenate([correlation[-most:], correlation[: most + 1]])
    return int(np.argmax(lags)) - most


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_the_delay_of_lame(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(encoded(SONG, bitrate_mode=mode))
    found, expected = audio.load(path), audio.from_array(SONG.T, 44_100)
    assert len(found) == len(expected)
    assert lag(found, expected) == 0


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.m4a", "aac"),
        ("a.opus", "libopus"),
        ("a.mka", "libopus"),
        ("a.mp3", "libmp3lame"),
    ],
)
def test_what_ffmpeg_writes_begins_where_it_began(
    tmp_path: Path, write_with_ffmpeg: Callable[..., Path], name: str, codec: str, channels: int
) -> None:
    channels = min(channels, 2) if codec == "libmp3lame" else channels
    song = music(SECONDS, 48_000, 1) * np.linspace(0.5, 1.0, channels, dtype=np.float32)
    path = write_with_ffmpeg(tmp_path / name, song, 48_000, codec)
    found, expected = audio.load(path), audio.from_array(song.T, 48_000)
    assert 0 <= len(found) - len(expected) < 2 * 1024 / 2  # two frames of padding at most
    np.testing.assert_allclose(
        found, ffmpeg_samples(path), atol=2e-3
    )  # libopus is not FFmpeg's own
    assert lag(found, expected) == 0


def with_gain(opus: bytes, gain_db: int) -> bytes:
    """An Ogg Opus file whose header has an output gain, in its first page with a new sum."""
    data = bytearray(opus)
    head = data.index(b"OpusHead")
    data[head + 16 : head + 18] = struct.pack("<h", gain_db * 256)
    size = 27 + data[26] + sum(data[27 : 27 + data[26]])
    data[22:26] = bytes(4)
    crc = 0
    for byte in data[:size]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFF_FFFF
    data[22:26] = struct.pack("<I", crc)
    return bytes(data)


def test_the_gain_of_opus(tmp_path: Path) -> None:
    opus = encoded(music(SECONDS, 48_000), 48_000, "OGG OPUS")
    levels = {}
    for gain_db in (0, -12):
        path = tmp_path / f"{gain_db}.opus"
        path.write_bytes(with_gain(opus, gain_db))
        found = audio.load(path)
        np.testing.assert_allclose(found, ffmpeg_samples(path), atol=2e-4)
        levels[gain_db] = np.sqrt(np.square(found).mean())
    assert 20 * np.log10(levels[-12] / levels[0]) == pytest.approx(-12, abs=0.05)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_six_channels_weigh_the_same(tmp_path: Path, name: str) -> None:
    path, samples = tmp_path / name, music(SECONDS, 48_000, 6)
    soundfile.write(path, samples, 48_000)
    expected = audio.from_array(samples.mean(axis=1), 48_000)
    np.testing.assert_allclose(audio.load(path), expected, atol=1e-4)


def stream_headers(data: bytes) -> bytes:
    """A FLAC whose header counts no samples, and has no hash."""
    flac = bytearray(data)
    flac[21] &= 0xF0
    flac[22:42] = bytes(20)
    return bytes(flac)


@pytest.mark.parametrize("kind", ["FLAC", "WAV", "AU"])
def test_streams_that_do_not_count_are_read_whole(tmp_path: Path, kind: str) -> None:
    data = encoded(SONG, 44_100, kind)
    if kind == "FLAC":
        data = stream_headers(data)
    elif kind == "WAV":
        at = data.index(b"data") + 4
        data = data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]
    else:
        data = data[:8] + b"\xff" * 4 + data[12:]
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(data)
    expected = audio.from_array(SONG.T, 44_100)
    np.testing.assert_allclose(audio.load(path), expected, atol=1e-4)
