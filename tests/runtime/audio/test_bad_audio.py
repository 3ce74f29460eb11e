"""Files that cannot be used say which and why; odd ones that can be used are."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from muqrt.errors import AudioError, MissingDependencyError, UsageError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.audio.damage import Damage, Tolerance

SECOND = np.random.default_rng(0).uniform(-0.5, 0.5, audio.SAMPLE_RATE_HZ)


def cut_file(path: Path, fraction: float = 0.55) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


def refusal(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        audio.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.wav")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "the file is empty" in refusal(tmp_path / "empty.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a.mp3", "a.m4a"])
def test_files_that_are_not_audio(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    (tmp_path / name).write_text("Once upon a time. " * 100)
    assert "not audio" in refusal(tmp_path / name)


def test_a_live_playlist_is_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("av")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.aac\n"
    (tmp_path / "a.m3u8").write_text(playlist)
    assert "not audio" in refusal(tmp_path / "a.m3u8")


def test_a_file_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), 44_100)
    assert "has no samples" in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_file_that_is_not_finite(tmp_path: Path, bad: float) -> None:
    samples = np.zeros((3 * 24_000, 2))
    samples[2 * 24_000, 1] = bad
    soundfile.write(tmp_path / "a.wav", samples, 24_000, "FLOAT")
    assert "NaN or infinite samples soon after 1." in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "IMA_ADPCM"),
        ("a.aiff", "PCM_16"),
        ("a.w64", "PCM_16"),
        ("a.rf64", "PCM_16"),
        ("a.flac", "PCM_16"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
def test_files_cut_short(tmp_path: Path, name: str, subtype: str) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * 44_100, 2))
    soundfile.write(path, noise, 44_100, subtype)
    message = refusal(cut_file(path))
    assert "cut short" in message
    seconds = float(message.split("only ")[1].split(" s")[0])
    assert 1.4 < seconds < 2.3


@pytest.mark.parametrize(("name", "options"), [("a.m4a", {"movflags": "faststart"}), ("a.m4a", {})])
def test_files_of_ffmpeg_cut_short(
    tmp_path: Path, write_with_ffmpeg: Callable[..., Path], name: str, options: dict[str, str]
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * 44_100, 2)).astype(np.float32)
    path = write_with_ffmpeg(tmp_path / name, noise, 44_100, **options)
    message = refusal(cut_file(path))
    # Without "faststart" the index lies at the end, and nothing can be read without it.
    expected = "cut short" if options else "damaged from the start"
    assert expected in message


def test_an_aac_that_does_not_count_its_frames_says_that_its_last_is_cut(
    tmp_path: Path, write_with_ffmpeg: Callable[..., Path]
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * 44_100, 2)).astype(np.float32)
    path = cut_file(write_with_ffmpeg(tmp_path / "a.aac", noise, 44_100))
    said: list[Damage] = []
    samples = len(
        audio.load(path, tolerance=Tolerance(on_damage=lambda _, each: said.append(each)))
    )
    assert 1.4 < samples / 24_000 < 2.3
    assert "1 packet could not be decoded" in str(said[0])
    with pytest.raises(AudioError, match="1 packet could not be decoded"):
        audio.load(path, tolerance=Tolerance(0))


def test_a_wav_from_a_pipe_is_as_long_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, SECOND, 24_000)
    content = bytearray(path.read_bytes())
    size = content.index(b"data") + 4
    for unknown in (0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000):
        content[size : size + 4] = struct.pack("<I", unknown)
        path.write_bytes(content)
        assert len(audio.load(path)) == 24_000


def test_a_flac_that_does_not_tell_its_length(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, SECOND, 24_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36-bit count of samples in STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert len(audio.load(path)) == 24_000


@pytest.mark.parametrize(("rate_hz", "channels"), [(999, 1), (24_000, 65), (800_000, 1)])
def test_files_of_an_implausible_shape(tmp_path: Path, rate_hz: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((100, channels)), rate_hz)
    message = refusal(path)
    assert f"sample rate of {rate_hz} Hz" in message or f"{channels} channels" in message


def test_a_file_longer_than_a_day(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 1_000, 1) as file:
        for _ in range(25):
            file.write(np.zeros(3600 * 1_000, np.int16))
    assert "longer than 24 hours" in refusal(path)


def test_without_pyav_the_cure_is_named(tmp_path: Path, without_av: None) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(MissingDependencyError, match=r"a\.m4a: .*pip install 'muqrt\[av\]'"):
        audio.load(path)


def test_samples_that_are_not_scaled_to_one() -> None:
    shouting = np.full(24_000, 32_767.0, dtype=np.float32)
    with pytest.raises(AudioError, match="full scale is 1"):
        audio.from_array(shouting, 24_000)


@pytest.mark.parametrize("rate_hz", ["44100", None, True])
def test_a_rate_that_is_no_number(tmp_path: Path, rate_hz: Any) -> None:
    with pytest.raises(UsageError, match="the sample rate is a number, such as 44100"):
        audio.from_array(SECOND, rate_hz)
    soundfile.write(tmp_path / "a.wav", SECOND, 24_000)
    with pytest.raises(UsageError, match="the sample rate is a number, such as 44100"):
        audio.load(tmp_path / "a.wav", rate_hz)


def test_a_path_that_is_none() -> None:
    with pytest.raises(UsageError, match="an audio file's path is needed, not None"):
        audio.load(None)  # type: ignore[arg-type]
