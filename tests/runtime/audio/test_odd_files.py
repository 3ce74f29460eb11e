"""Every odd file gives what FFmpeg decodes, and what is left out is said."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import AudioError, MissingDependencyError
from muqrt.runtime.audio import read as audio
from muqrt.runtime.audio.damage import Tolerance

from .odd_files import SECONDS, Heard, encoded, ffmpeg_samples, music, uncounted

pytest.importorskip("av")

MONO, STEREO = music(channels=1), music()
MP3 = encoded(STEREO)
PLAIN = uncounted(MP3)
FLAC = encoded(STEREO, kind="FLAC")
VORBIS = encoded(STEREO, kind="OGG VORBIS")
JUNK = np.random.default_rng(5).integers(0, 255, 383, np.uint8).tobytes()
PAGE = b"<html><body>502 Bad Gateway" + b"<p>try later</p>\n" * 150 + b"</body></html>"
ID3V1 = b"TAG" + b"Song".ljust(125, b"\0")
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 64, 1, 0xA0000000) + bytes(32)
APE += b"APETAGEX" + struct.pack("<IIII8x", 2000, 64, 1, 0x80000000)
ID3V2 = b"ID3\x03\x00\x00\x00\x00\x08\x00" + bytes(1024)


def dsf(seconds: float = 0.2) -> bytes:
    """Stereo DSD64: sigma-delta of first order, of a tone."""
    count = int(2_822_400 * seconds) // 32_768 * 32_768
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(count) / 2_822_400)
    bits = np.diff(np.floor(np.cumsum((wave + 1) / 2)), prepend=0).astype(np.uint8)
    channel = np.packbits(bits, bitorder="little").tobytes()
    body = b"".join(channel[k : k + 4096] * 2 for k in range(0, len(channel), 4096))
    head = struct.pack("<QIIIIIIQII", 52, 1, 0, 2, 2, 2_822_400, 1, count, 4096, 0)
    head, data = b"fmt " + head, b"data" + struct.pack("<Q", 12 + len(body)) + body
    return b"DSD " + struct.pack("<QQQ", 28, 28 + len(head) + len(data), 0) + head + data


def wav(data_bytes: int) -> bytes:
    """A wav of 3 s that says it has so many bytes."""
    content = bytearray(encoded(STEREO, kind="WAV"))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", data_bytes)
    return bytes(content)


def mp3_in_wav() -> bytes:
    """An mp3 in a wav, whose header counts the encoder's padding too."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        track = container.add_stream("libmp3lame", rate=44_100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(STEREO.T), "fltp", "stereo")
        frame.sample_rate = 44_100
        split = av.AudioResampler("fltp", "stereo", 44_100, frame_size=1152)
        for each in [*split.resample(frame), *split.resample(None), None]:
            container.mux(track.encode(each))
    return file.getvalue()


def middle(content: bytes, inserted: bytes, instead_of: int = 0) -> bytes:
    half = len(content) // 2
    return content[:half] + inserted + content[half + instead_of :]


INTACT = {
    "flac with ID3v1": FLAC + ID3V1,
    "flac with APEv2": FLAC + APE,
    "flac after ID3v2": ID3V2 + FLAC,
    "wav from a pipe": wav(0),
    "wav from another": wav(0xFFFF_FFFF),
    "dsf": dsf(),
    "mp3 with junk behind it": MP3 + PAGE,
    "mp3 with tags behind it": MP3 + APE + ID3V1,
    "mp3 without a count": PLAIN,
    "variable mp3": encoded(STEREO, bitrate_mode="VARIABLE"),
    "variable mp3 without a count": uncounted(encoded(STEREO, bitrate_mode="VARIABLE")),
    "mono then stereo": uncounted(encoded(MONO)) + PLAIN,
    "stereo then mono": PLAIN + uncounted(encoded(MONO)),
    "44.1 then 48 kHz": PLAIN + uncounted(encoded(music(rate_hz=48_000), 48_000)),
    "two counted mp3s": MP3 + MP3,
    "mp3 in a wav": mp3_in_wav(),
    "Layer II after ID3v2": ID3V2 + PLAIN,
}


@pytest.mark.parametrize("name", INTACT)
def test_intact_files_are_ffmpegs_samples_and_nothing_is_said(tmp_path: Path, name: str) -> None:
    path, heard = tmp_path / "a", Heard(0)
    path.write_bytes(INTACT[name])
    found, expected = audio.load(path, tolerance=heard.tolerance), ffmpeg_samples(path)
    # FFmpeg plays a second file's frame of counts.
    assert len(found) == pytest.approx(len(expected), abs=0.03 * 24_000)
    shared = min(len(found), len(expected))
    np.testing.assert_allclose(found[:shared], expected[:shared], atol=2e-3)
    assert not heard.damages


DAMAGED = {
    "mp3 with 383 bytes": middle(MP3, JUNK),
    "mp3 with a page": middle(MP3, PAGE),
    "mp3 with zeros": middle(MP3, bytes(6_000), instead_of=6_000),
    "plain mp3 with zeros": middle(PLAIN, bytes(6_000), instead_of=6_000),
    "plain mp3 cut": PLAIN[:-100],
    "flac with a bad frame": middle(FLAC, b"\x5a" * 6, instead_of=6),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_ffmpegs_samples_and_the_loss_is_said(tmp_path: Path, name: str) -> None:
    path, heard = tmp_path / "a", Heard()
    path.write_bytes(DAMAGED[name])
    found, expected = audio.load(path, tolerance=heard.tolerance), ffmpeg_samples(path)
    assert len(found) == pytest.approx(len(expected), abs=0.06 * 24_000)
    [(said_name, damage)] = heard.damages
    assert said_name == str(path) and damage.read_seconds == pytest.approx(
        len(found) / 24_000, 1e-3
    )
    lacking = SECONDS - len(found) / 24_000
    assert damage.lost_seconds == pytest.approx(lacking, abs=0.12)
    with pytest.raises(AudioError, match="cut short or damaged"):
        audio.load(path, tolerance=Tolerance(0))


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (FLAC[: len(FLAC) // 2], 1.5),
        (MP3[: len(MP3) * 3 // 5], 1.8),
        (encoded(STEREO, kind="WAV")[:300_000], 1.7),
    ],
    ids=["flac", "mp3", "wav"],
)
def test_a_cut_file_is_refused_unless_it_is_asked_for(
    tmp_path: Path, content: bytes, seconds: float
) -> None:
    path, heard = tmp_path / "a", Heard(1)
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"promises 3\.0 s, and only .*--partial"):
        audio.load(path)
    found = audio.load(path, tolerance=heard.tolerance)
    assert len(found) / 24_000 == pytest.approx(seconds, abs=0.1)
    assert heard.lost_seconds == pytest.approx(SECONDS - seconds, abs=0.15)


@pytest.mark.parametrize("kind", ["OGG VORBIS", "OGG OPUS"])
@pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 2), (24_000, 2), (48_000, 1)])
def test_the_links_of_a_chain_are_each_ffmpegs_samples(
    tmp_path: Path, without_av: None, kind: str, rate_hz: int, channels: int
) -> None:
    first = encoded(music(rate_hz=48_000), 48_000, kind)
    second = encoded(music(1.0, rate_hz, channels), rate_hz, kind)
    path = tmp_path / "a.ogg"
    path.write_bytes(first + second)
    heard = Heard(0)
    found = audio.load(path, tolerance=heard.tolerance)
    assert len(found) == 4 * 24_000 and not heard.damages


def test_the_links_of_a_chain_are_the_files_joined(tmp_path: Path) -> None:
    parts = [VORBIS, encoded(music(1.0, 48_000, 1), 48_000, "OGG OPUS"), VORBIS]
    alone = []
    for index, part in enumerate(parts):
        (tmp_path / f"{index}.ogg").write_bytes(part)
        alone.append(ffmpeg_samples(tmp_path / f"{index}.ogg"))
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(parts))
    expected = np.concatenate(alone)
    found = audio.load(path)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_an_apple_double_beside_an_mp3_is_not_opened(tmp_path: Path, without_av: None) -> None:
    (tmp_path / "song.mp3").write_bytes(MP3)
    head = bytes.fromhex("0005160700020000") + b"Mac OS X        "
    head += bytes.fromhex("0002000000090000003200000eb00000000200000ee20000011e")
    (tmp_path / "._song.mp3").write_bytes(head + bytes(4056))
    assert len(audio.load(tmp_path / "song.mp3")) == round(SECONDS * 24_000)


def test_without_pyav_a_doubtful_mp3_does_its_best_and_names_the_extra(
    tmp_path: Path, without_av: None
) -> None:
    path, heard = tmp_path / "a.mp3", Heard()
    path.write_bytes(INTACT["mono then stereo"])
    with pytest.raises(AudioError, match=r"pip install 'muqrt\[av\]'"):
        audio.load(path)
    path.write_bytes(DAMAGED["mp3 with 383 bytes"])
    try:
        found = audio.load(path, tolerance=heard.tolerance)
    except AudioError as error:
        assert "pip install 'muqrt[av]'" in str(error)
    else:
        assert len(found) / 24_000 + heard.lost_seconds == pytest.approx(SECONDS, abs=0.1)
        assert "pip install 'muqrt[av]'" in str(heard.damages[0][1])
    path.write_bytes(dsf())
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[av\]'"):
        audio.load(path)


def test_without_a_count_a_long_mp3_is_read_to_its_end(tmp_path: Path) -> None:
    """Quiet then loud: libsndfile's guess, from the first frames, is far too short."""
    quiet, loud = (
        0.001 * music(20),
        music(20) + np.random.default_rng(1).normal(0, 0.2, (882_000, 2)),
    )
    content = uncounted(encoded(np.concatenate([loud, quiet, quiet]), bitrate_mode="VARIABLE"))
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    assert len(audio.load(path, tolerance=Tolerance(0))) / 24_000 == pytest.approx(60, abs=0.1)


def test_metadata_in_any_encoding_decides_nothing(
    tmp_path: Path, write_with_ffmpeg: Callable[..., Path]
) -> None:
    path = write_with_ffmpeg(tmp_path / "a.m4a", STEREO, 44_100)
    content, expected = path.read_bytes(), audio.load(path)
    assert b"Lavf" in content  # the encoder's name, in a tag
    path.write_bytes(content.replace(b"Lavf", b"\xff\xfe\xe9\x80"))
    np.testing.assert_array_equal(audio.load(path), expected)


def test_whatever_a_decoder_raises_is_its_files_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    def fail(*arguments: object, **options: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid")

    monkeypatch.setattr(av, "open", fail)
    path = tmp_path / "a.dsf"
    path.write_bytes(dsf())
    with pytest.raises(AudioError, match=r"a\.dsf: not audio, .*UnicodeDecodeError"):
        audio.load(path)
