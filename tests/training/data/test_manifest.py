"""Manifests: read and written alike, wrong lines named, leaking splits refused."""

import json
from pathlib import Path

import pytest

from muqrt.errors import AudioError
from muqrt.training.data.manifest import Recording, check_splits, read_recordings, write_recordings

EVERYTHING = {
    "audio": "a.wav",
    "song": "s",
    "split": "train",
    "seconds": 30.0,
    "genre": "house",
    "key": "F# minor",
    "valence": -0.5,
    "arousal": 1.0,
    "tags": ["loud", "fast"],
    "tags_unknown": ["happy"],
    "sections": [[0.0, 2.5, "verse"], [2.5, 30.0, "chorus"]],
    "tempo_bpm": 120.0,
    "singer": "anna",
    "technique": "belt",
    "instrument": "flute",
    "pitch": 60,
    "captions": ["a fast song", "一首快歌"],
}


def manifest(folder: Path, *rows: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_every_field_is_read_and_others_are_ignored(tmp_path: Path) -> None:
    (found,) = read_recordings(manifest(tmp_path, {**EVERYTHING, "mood": "blue"}))
    assert json.loads(found.model_dump_json()) == {**EVERYTHING, "audio": str(tmp_path / "a.wav")}


def test_a_folder_is_searched_unless_it_has_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp3", "deep/a.FLAC", "notes.txt"):
        (tmp_path / name).touch()
    found = read_recordings(tmp_path)
    assert [each.audio.name for each in found] == ["b.mp3", "a.FLAC"]
    assert len({each.song for each in found}) == 2
    manifest(tmp_path, {"audio": "deep/a.FLAC"})
    assert [each.audio for each in read_recordings(tmp_path)] == [tmp_path / "deep" / "a.FLAC"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    inside = Recording(**{**EVERYTHING, "audio": tmp_path / "sub" / "ü.wav"})
    outside = Recording(audio=Path("/elsewhere/b.wav"), song="b", pitch=0)
    write_recordings([inside, outside], tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["audio"] for row in rows] == ["sub/ü.wav", "/elsewhere/b.wav"]
    assert set(rows[1]) == {"audio", "song", "pitch"}
    assert read_recordings(tmp_path / "out.jsonl") == [inside, outside]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"song": "s"}, "audio: Field required"),
        ([], "valid dictionary"),
        ({"audio": "a.wav", "split": "dev"}, "split"),
        ({"audio": "a.wav", "pitch": 128}, "pitch"),
        ({"audio": "a.wav", "valence": float("nan")}, "valence"),
        ({"audio": "a.wav", "sections": []}, "sections"),
        ({"audio": "a.wav", "sections": [[3, 3, "verse"]]}, "from 3.0 to 3.0 s"),
    ],
)
def test_a_wrong_line_is_named(row: object, message: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, {"audio": "fine.wav"}, row)
    with pytest.raises(AudioError, match="line 2") as raised:
        read_recordings(path)
    assert message in str(raised.value)


def test_no_manifest_and_no_audio(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such folder"):
        read_recordings(tmp_path / "gone")
    with pytest.raises(AudioError, match="no audio there"):
        read_recordings(tmp_path)


def test_a_song_in_two_splits_leaks() -> None:
    first = Recording(audio=Path("a.wav"), song="s", split="train")
    second = Recording(audio=Path("b.wav"), song="s", split="test")
    with pytest.raises(AudioError, match=r"a\.wav is in train and b\.wav, the same song, in test"):
        check_splits([first, second])
    check_splits([first, second.model_copy(update={"split": "train"})])
    check_splits([first, second.model_copy(update={"split": None})])


def test_the_same_bytes_in_two_splits_leak(tmp_path: Path) -> None:
    recordings = []
    for name, data, split in (("a", b"xx", "train"), ("b", b"xy", "test"), ("c", b"xx", "valid")):
        (tmp_path / name).write_bytes(data)
        recordings.append(Recording(audio=tmp_path / name, song=name, split=split))
    check_splits(recordings[:2])
    with pytest.raises(AudioError, match="the same audio"):
        check_splits(recordings)
