"""Real files of every format and layout come out as the mono signal that went in."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from muqrt.errors import AudioError
from muqrt.runtime.audio import read as audio

TONE_HZ = 440.0

Writer = Callable[..., Path]


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    """(samples, channels) of a sine whose mean over the channels has the amplitude 0.3."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    gains = np.linspace(0.2, 0.4, channels) if channels > 1 else np.array([0.3])
    return (np.sin(2 * np.pi * TONE_HZ * time)[:, None] * gains).astype(np.float32)


def amplitude(mono: np.ndarray, tone_hz: float = TONE_HZ) -> float:
    """Amplitude of the tone in the middle of a 24 kHz signal."""
    middle = mono[len(mono) // 4 : 3 * len(mono) // 4].astype(np.float64)
    window = np.hanning(len(middle))
    phase = np.exp(-2j * np.pi * tone_hz * np.arange(len(middle)) / audio.SAMPLE_RATE_HZ)
    return float(2 * abs((middle * window * phase).sum()) / window.sum())


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_wav(tmp_path: Path, subtype: str, rate_hz: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0, rate_hz, channels), rate_hz, subtype)
    mono = audio.load(path)
    assert mono.dtype == np.float32 and mono.shape == (audio.SAMPLE_RATE_HZ,)
    assert amplitude(mono) == pytest.approx(0.3, rel=5e-3 if subtype == "PCM_U8" else 1e-3)
    assert amplitude(mono, 2 * TONE_HZ) < 2e-3


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "subtype", "rate_hz"),
    [
        ("a.flac", "PCM_16", 44_100),
        ("a.flac", "PCM_24", 96_000),
        ("a.ogg", "VORBIS", 44_100),
        ("a.ogg", "OPUS", 48_000),
        ("a.mp3", "MPEG_LAYER_III", 44_100),
        ("a.mp3", "MPEG_LAYER_III", 22_050),
        ("a.aiff", "PCM_16", 44_100),
    ],
)
def test_formats_of_libsndfile(
    tmp_path: Path, without_av: None, name: str, subtype: str, rate_hz: int, channels: int
) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(2.0, rate_hz, channels), rate_hz, subtype)
    mono = audio.load(path)
    assert len(mono) == 2 * audio.SAMPLE_RATE_HZ
    assert amplitude(mono) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.flac"])
def test_blocks_join_without_a_seam(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(5.0, 24_000), 24_000)
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(audio.load(path), whole, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a name: with # odd % characters.mp4"])
def test_formats_of_ffmpeg(
    tmp_path: Path, write_with_ffmpeg: Writer, name: str, channels: int
) -> None:
    path = write_with_ffmpeg(tmp_path / name, tone(2.0, 44_100, channels), 44_100)
    mono = audio.load(path)
    # An encoder may add its padding to the end.
    assert 0 <= len(mono) / audio.SAMPLE_RATE_HZ - 2.0 < 0.1
    # AAC keeps only the lowest frequencies of 5.1's fourth channel.
    expected = 0.3 - 0.32 / 6 if channels == 6 else 0.3
    assert amplitude(mono) == pytest.approx(expected, rel=0.02)


def test_ffmpeg_reads_packed_integers(tmp_path: Path, write_with_ffmpeg: Writer) -> None:
    """Matroska with plain PCM: not libsndfile's, and its samples come packed."""
    path = write_with_ffmpeg(tmp_path / "a.mka", tone(1.0, 48_000, 2), 48_000, "pcm_s16le")
    mono = audio.load(path)
    assert len(mono) == audio.SAMPLE_RATE_HZ
    assert amplitude(mono) == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("samples", [1, 7, 16_384, 100_003])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_streaming_resamples_as_at_once(tmp_path: Path, rate_hz: int, samples: int) -> None:
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    soundfile.write(path, noise, rate_hz, "FLOAT")
    streamed = np.concatenate(list(audio.stream(path)))
    at_once = soxr.resample(noise, rate_hz, audio.SAMPLE_RATE_HZ, quality="VHQ")
    assert len(streamed) == len(at_once) == int(samples * audio.SAMPLE_RATE_HZ / rate_hz + 0.5)
    np.testing.assert_allclose(streamed, at_once, atol=1e-6)
    np.testing.assert_array_equal(audio.from_array(noise, rate_hz), at_once)


def test_a_half_hour_is_streamed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = tone(60, 8_000)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(30):
            file.write(minute)
    tracemalloc.start()
    samples = sum(len(block) for block in audio.stream(path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 30 * 60 * audio.SAMPLE_RATE_HZ
    assert peak_bytes < 4 << 20


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32"])
def test_arrays(dtype: str, channels: int) -> None:
    scale = 1 if dtype.startswith("float") else np.iinfo(dtype).max + 1
    waveform = (tone(1.0, 44_100, channels).T.astype(np.float64) * scale).astype(dtype)
    mono = audio.from_array(waveform, 44_100)
    assert mono.dtype == np.float32 and mono.shape == (audio.SAMPLE_RATE_HZ,)
    assert amplitude(mono) == pytest.approx(0.3, rel=1e-3)
    if channels == 1:
        np.testing.assert_array_equal(audio.from_array(waveform[0], 44_100), mono)


def test_the_lowest_integer_is_minus_one() -> None:
    mono = audio.from_array(np.array([-(2**15), 2**14], np.int16), audio.SAMPLE_RATE_HZ)
    np.testing.assert_array_equal(mono, np.array([-1.0, 0.5], np.float32))


@pytest.mark.parametrize(
    ("waveform", "rate_hz", "message"),
    [
        (np.zeros((100, 2), np.float32), 44_100, r"looks like \(samples, channels\).*waveform\.T"),
        (np.zeros((65, 1000), np.float32), 44_100, "65 channels; at most 64"),
        (np.zeros(0, np.float32), 44_100, "no samples"),
        (np.zeros((0, 10), np.float32), 44_100, "no samples"),
        (np.zeros((1, 1, 10), np.float32), 44_100, r"pass \(samples,\)"),
        (np.zeros(10, np.float16), 44_100, "dtype float16; convert it"),
        (np.zeros(10, np.float32), 999, "sample rate of 999 Hz"),
        (np.zeros(10, np.float32), 768_001, "sample rate of 768001 Hz"),
        (np.array([0, np.nan], np.float32), 44_100, "NaN or infinite"),
        (np.array([0, np.inf], np.float64), 44_100, "NaN or infinite"),
        (np.array([[1e38, 1e300]]), 44_100, "NaN or infinite"),
        (np.broadcast_to(np.float32(0), 86_400_001), 1_000, "longer than 24 hours"),
    ],
)
def test_arrays_that_are_refused(waveform: np.ndarray, rate_hz: int, message: str) -> None:
    with pytest.raises(AudioError, match=f"^mine: .*{message}"):
        audio.from_array(waveform, rate_hz, name="mine")
