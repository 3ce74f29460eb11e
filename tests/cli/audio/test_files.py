"""Which audio files a command takes, and what it says of the others."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.cli.audio.files import audio_files
from muqrt.errors import AudioError

Command = Callable[..., CompletedProcess[str]]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    songs = fill(tmp_path / "songs", "b.FLAC", "a/c.mp3", "a/notes.txt", "a.wav/notes.txt")
    found = audio_files([songs, Path("x/any.name")])
    named = [(songs / name, Path(name)) for name in ("a/c.mp3", "b.FLAC")]
    assert list(found) == [*named, (Path("x/any.name"), Path("any.name"))]
    assert (len(found), found.skipped, capsys.readouterr().err) == (3, [], "")
    with pytest.raises(AudioError, match=r"no audio files in this folder\."):
        audio_files([songs / "a.wav"])


def test_what_is_skipped_is_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = fill(tmp_path / "songs", "a.mp3", *(f"{index}.mid" for index in range(5)))
    found = audio_files([songs])
    assert [path.name for path in found.skipped] == [f"{index}.mid" for index in range(5)]
    assert capsys.readouterr().err == (
        f"muqrt: {songs}: skipped 5 files that cannot be decoded here: 0.mid, 1.mid, 2.mid and 2 "
        "more.\n"
    )
    with pytest.raises(AudioError, match=r"no audio files in this folder: skipped 1 file that"):
        audio_files([fill(tmp_path / "scores", "a.mid")])


def test_what_the_extra_would_read_is_said(
    without_av: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio_files([fill(tmp_path, "a.mp3", "b.m4a", "c.wma", "d.mid")])
    assert capsys.readouterr().err.endswith("For .m4a, .wma: pip install 'muqrt[av]'\n")


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("https://a.fm/x.mp3", "tag it while it plays: muqrt stream https://a.fm/x.mp3"),
        ("HTTP://a.fm/", "muqrt stream HTTP://a.fm"),
        ("s3://bucket/x.mp3", "Download it first."),
        ("file:///music/x.mp3", "Download it first."),
    ],
)
def test_an_address_is_no_file(muqrt: Command, tmp_path: Path, address: str, cure: str) -> None:
    done = muqrt("embed", address, "-b", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "an address; this command takes files" in done.stderr and cure in done.stderr


def test_a_file_whose_name_looks_like_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path, "http:/a.mp3"))
    assert list(audio_files([Path("http:/a.mp3")])) == [(Path("http:/a.mp3"), Path("a.mp3"))]
