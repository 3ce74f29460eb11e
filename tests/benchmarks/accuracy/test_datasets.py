"""Published datasets: tiny copies of their layouts, with real audio, become manifests."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from muqrt.benchmarks.accuracy.datasets import DATASETS, read_dataset
from muqrt.cli.bench.evaluate import commands
from muqrt.errors import AudioError, UsageError
from muqrt.training.data.manifest import Recording, check_splits, read_recordings


def audio(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(size=800) / 10, 8000)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def by_name(recordings: list[Recording]) -> dict[str, Recording]:
    assert all(each.audio.is_file() for each in recordings)
    return {each.audio.stem: each for each in recordings}


@pytest.fixture
def mirdata_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give mirdata's real loaders an index of a few tracks."""
    core = pytest.importorskip("mirdata.core")

    def use(tracks: dict[str, dict[str, list[str | None]]]) -> None:
        write(tmp_path / "index.json", json.dumps({"version": "1.0", "tracks": tracks}))
        monkeypatch.setattr(core.Index, "get_path", lambda self: str(tmp_path / "index.json"))

    return use


def test_gtzan(tmp_path: Path, mirdata_index: Any) -> None:
    names = [f"{genre}.{index:05}" for genre in ("blues", "hiphop") for index in range(10)]
    tracks = {}
    for index, name in enumerate(names):
        relative = f"genres/{name.split('.')[0]}/{name}.wav"
        audio(tmp_path / "home" / relative, index)
        tracks[name] = {"audio": [relative, ""], "beats": [None, None], "tempo": [None, None]}
    mirdata_index(tracks)
    found = read_dataset("gtzan_genre", tmp_path / "home")
    assert {name: each.genre for name, each in by_name(found).items()} == {
        name: "blues" if name.startswith("blues") else "hip-hop" for name in names
    }
    assert Counter(each.split for each in found) == {"train": 14, "test": 4, "valid": 2}
    assert read_dataset("gtzan_genre", tmp_path / "home") == found


def test_giantsteps_takes_major_and_minor_only(tmp_path: Path, mirdata_index: Any) -> None:
    tracks = {}
    for index, key in enumerate(("D minor", "Bb major", "E other", "")):
        paths = {"audio": f"audio/{index}.wav", "key": f"keys/{index}.key", "meta": "meta.json"}
        audio(tmp_path / paths["audio"], index)
        write(tmp_path / paths["key"], f"{key}\n")
        tracks[str(index)] = {name: [path, ""] for name, path in paths.items()}
    mirdata_index(tracks)
    found = read_dataset("giantsteps_key", tmp_path)
    assert {name: each.key for name, each in by_name(found).items()} == {
        "0": "D minor",
        "1": "Bb major",
    }


def test_without_mirdatas_index_it_says_how_to_get_it(tmp_path: Path, mirdata_index: Any) -> None:
    mirdata_index({})
    (tmp_path / "index.json").unlink()
    with pytest.raises(AudioError, match=r"download\(\)"):
        read_dataset("gtzan_genre", tmp_path)


def test_emo(tmp_path: Path) -> None:
    info = [
        "song_id,file_name,Artist,Song title,start of the segment (min.sec),"
        "end of the segment (min.sec),Genre,Mediaeval 2013 set"
    ]
    means = ["song_id,mean_arousal,std_arousal,mean_valence,std_valence"]
    for song, group in ((2, "development"), (3, "evaluation"), (4, "evaluation")):
        info.append(f'{song},{song}.mp3,"Some, One",A Song,0.1,0.46,Blues,{group}')
        means.append(f"{song},{song}.0,1.1,5.0,1.4")
        if song != 4:
            audio(tmp_path / "clips_45seconds" / f"{song}.wav", song)
    write(tmp_path / "annotations" / "songs_info.csv", "\n".join(info))
    write(tmp_path / "annotations" / "static_annotations.csv", "\n".join(means))
    found = by_name(read_dataset("emo", tmp_path))
    assert {name: each.split for name, each in found.items()} == {"2": "train", "3": "test"}
    assert (found["3"].valence, found["3"].arousal) == (0.0, -0.5)


def vocalset(home: Path) -> None:
    for root in ("FULL", "data_by_technique"):
        for singer in ("female1", "female2", "male10", "male11"):
            for technique in ("belt", "vibrato", "forte"):
                name = f"{singer[0]}_{technique}_{singer}.wav"
                audio(home / root / singer / "scales" / technique / name, hash(name) % 1000)


def test_vocalset_techniques_are_split_by_singer(tmp_path: Path) -> None:
    vocalset(tmp_path)
    found = read_dataset("vocalset_technique", tmp_path)
    assert len(found) == 8
    assert {each.technique for each in found} == {"belt", "vibrato"}
    assert {each.song for each in found if each.split == "test"} == {"female2", "male10"}
    check_splits([each.model_copy(update={"audio": Path(each.audio.name)}) for each in found])


def test_vocalset_singers_are_in_every_split(tmp_path: Path) -> None:
    vocalset(tmp_path)
    found = read_dataset("vocalset_singer", tmp_path)
    assert len(found) == 12
    assert {each.singer for each in found} == {"female1", "female2", "male10", "male11"}
    assert {each.split for each in found} == {"train", "valid", "test"}


def test_harmonix(tmp_path: Path) -> None:
    lines = "0.0 intro\n8.5 pre-chorus\n20.0 Chorus 2\n30 gtr\n33 bigoutro\n42.25 end\n"
    for name in ("0001_song", "0002_unheard"):
        write(tmp_path / "dataset" / "segments" / f"{name}.txt", lines)
    audio(tmp_path / "audio" / "0001_song.wav")
    (found,) = read_dataset("harmonix", tmp_path)
    assert found.sections == (
        (0.0, 8.5, "intro"),
        (8.5, 20.0, "verse"),
        (20.0, 30.0, "chorus"),
        (30.0, 33.0, "inst"),
        (33.0, 42.25, "outro"),
    )


def test_magnatagatune_takes_the_50_most_frequent_tags(tmp_path: Path) -> None:
    tags = [f"tag {index}" for index in range(60)]
    lines = ["\t".join(["clip_id", *tags, "mp3_path"])]
    for clip in range(60):
        path = f"{'0bcf'[clip % 4]}/band-album-01-song{clip // 2}-{clip}-{clip + 29}.mp3"
        # Tag i is on clips i, i + 1, ...: the first are the most frequent.
        present = ["1" if clip >= index else "0" for index in range(60)]
        lines.append("\t".join([str(clip), *present, path]))
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    write(tmp_path / "annotations_final.csv", "\n".join(lines))
    found = read_dataset("magnatagatune", tmp_path)
    assert {tag for each in found for tag in each.tags or ()} == set(tags[:50])
    assert found[2].tags == ("tag 0", "tag 1", "tag 2")
    assert [each.split for each in found[:4]] == ["train", "train", "valid", "test"]
    assert found[0].song == found[1].song == "band-album-01-song0"


def test_nsynth(tmp_path: Path) -> None:
    for index, split in enumerate(("train", "valid", "test")):
        name = f"guitar_acoustic_{index:03}-060-100"
        note = {"pitch": 60 + index, "instrument_family_str": "guitar", "velocity": 100}
        write(tmp_path / f"nsynth-{split}" / "examples.json", json.dumps({name: note}))
        audio(tmp_path / f"nsynth-{split}" / "audio" / f"{name}.wav", index)
    found = read_dataset("nsynth", tmp_path)
    assert [(each.split, each.pitch, each.instrument) for each in found] == [
        ("train", 60, "guitar"),
        ("valid", 61, "guitar"),
        ("test", 62, "guitar"),
    ]
    by_name(found)


def test_splits_can_be_lists_of_files(tmp_path: Path) -> None:
    vocalset(tmp_path / "home")
    for split, line in (("train", "belt/f_belt_female1.wav"), ("valid", "f_belt_female2.wav")):
        write(tmp_path / "lists" / f"{split}_filtered.txt", line + "\n")
    write(tmp_path / "lists" / "test.txt", "male10/scales/vibrato/m_vibrato_male10.wav\n")
    found = read_dataset("vocalset_singer", tmp_path / "home", tmp_path / "lists")
    assert [(each.split, each.singer) for each in found] == [
        ("train", "female1"),
        ("valid", "female2"),
        ("test", "male10"),
    ]
    write(tmp_path / "lists" / "test.txt", "male10/scales/vibrato/other.wav\n")
    with pytest.raises(AudioError, match=r"other\.wav is not in the dataset"):
        read_dataset("vocalset_singer", tmp_path / "home", tmp_path / "lists")
    (tmp_path / "lists" / "test.txt").unlink()
    with pytest.raises(AudioError, match=r"no test\*\.txt"):
        read_dataset("vocalset_singer", tmp_path / "home", tmp_path / "lists")


def test_the_command_writes_a_manifest(tmp_path: Path) -> None:
    vocalset(tmp_path / "home")
    output = tmp_path / "manifest.jsonl"
    arguments = ["manifest", "vocalset_technique", "--home", str(tmp_path / "home")]
    result = CliRunner().invoke(commands, [*arguments, "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "4 train, 4 test" in result.stdout
    found = read_recordings(output)
    assert sorted(each.audio for each in found) == sorted(
        each.audio for each in read_dataset("vocalset_technique", tmp_path / "home")
    )
    assert "home/FULL/" in output.read_text()


@pytest.mark.parametrize("name", [name for name in DATASETS if "_" not in name])
def test_an_empty_folder_says_what_belongs_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="Expected:"):
        read_dataset(name, tmp_path)


def test_an_unknown_dataset() -> None:
    with pytest.raises(UsageError, match="gtzan_genre"):
        read_dataset("mnist", Path())
