"""A folder of music, with what lies beside it."""

from pathlib import Path

from muqrt.runtime.audio.folder import scan_folder
from muqrt.runtime.audio.suffixes import decodable_suffixes, suffixes_of_av


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_everything_that_decodes_is_audio(tmp_path: Path) -> None:
    songs = sorted(f"a/song{suffix.upper()}" for suffix in decodable_suffixes())
    fill(tmp_path, *songs)
    contents = scan_folder(tmp_path)
    assert names(contents.audio, tmp_path) == songs
    assert contents.skipped == []
    assert {".wv", ".tta", ".mka", ".m4b", ".mp2", ".caf", ".w64", ".dsf"} < decodable_suffixes()


def test_companions_are_left_out_quietly_and_the_rest_is_named(tmp_path: Path) -> None:
    companions = [
        *("._song.mp3", ".DS_Store", "Thumbs.db", "a/desktop.ini", "cover.JPG", "a/folder.png"),
        *(
            "album.cue",
            "rip.log",
            "list.m3u8",
            "notes.txt",
            ".nomedia",
            "a/.hidden",
            "song.mp3.npy",
        ),
        *("@eaDir/song.mp3/song.mp3", ".Trash-1000/files/old.mp3", "__MACOSX/song.mp3"),
        *(".muqrt-index/tracks.lance/data.lance", "$RECYCLE.BIN/gone.flac"),
    ]
    audio = ["...And Justice/one.flac", "...Baby.mp3", "b/song.mp3"]
    other = ["a/tune.mid", "b/film.srt", "score"]
    fill(tmp_path, *companions, *audio, *other)
    (tmp_path / "folder.wav").mkdir()
    contents = scan_folder(tmp_path)
    assert names(contents.audio, tmp_path) == audio
    assert names(contents.skipped, tmp_path) == other


def test_without_the_extra_its_files_are_skipped(without_av: None, tmp_path: Path) -> None:
    fill(tmp_path, "a.m4a", "b.flac")
    contents = scan_folder(tmp_path)
    assert names(contents.audio, tmp_path) == ["b.flac"]
    assert names(contents.skipped, tmp_path) == ["a.m4a"]
    assert ".m4a" in suffixes_of_av()
