"""Splits of a task: checked, and a validation split where there is none."""

from pathlib import Path

import pytest

from muqrt.errors import AudioError
from muqrt.training.data.manifest import Recording
from muqrt.training.probe.tasks import find_task, splits_of

GENRE = find_task("genre")


def rows(split: str | None, songs: int, clips: int = 2) -> list[Recording]:
    return [
        Recording(
            audio=Path(f"{split}{song}-{clip}"), song=f"{split}{song}", split=split, genre="g"
        )
        for song in range(songs)
        for clip in range(clips)
    ]


def test_splits_are_the_manifests() -> None:
    others = [*rows(None, 3), Recording(audio=Path("x"), song="x", split="train", key="C major")]
    splits = splits_of([*rows("train", 5), *rows("valid", 2), *rows("test", 1), *others], GENRE)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 10,
        "valid": 4,
        "test": 2,
    }


def test_a_tenth_of_the_training_songs_validates_where_nothing_does() -> None:
    given = [*rows("train", 30), *rows("test", 1)]
    splits = splits_of(given, GENRE)
    valid, train = ({each.song for each in splits[name]} for name in ("valid", "train"))
    assert len(valid) == 3
    assert len(train) == 27
    assert not valid & train
    assert splits_of(given[::-1], GENRE)["valid"] == splits["valid"][::-1]


@pytest.mark.parametrize("missing", ["train", "test"])
def test_an_empty_split_is_named(missing: str) -> None:
    given = [each for each in [*rows("train", 3), *rows("test", 3)] if each.split != missing]
    with pytest.raises(AudioError, match=f"'genre': .*genre in split \"{missing}\""):
        splits_of(given, GENRE)


def test_one_song_cannot_both_train_and_validate() -> None:
    with pytest.raises(AudioError, match='split "valid"'):
        splits_of([*rows("train", 1), *rows("test", 1)], GENRE)


def test_leaks_are_found() -> None:
    leak = rows("test", 1)[0].model_copy(update={"song": "train0"})
    with pytest.raises(AudioError, match="leak"):
        splits_of([*rows("train", 3), *rows("test", 3), leak], GENRE)
