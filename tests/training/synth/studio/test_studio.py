"""Recipe "studio": one small corpus with the smallest fonts, made once."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("av")
pytest.importorskip("mido")
pytest.importorskip("music21")
pytest.importorskip("pyloudnorm")
pytest.importorskip("pyworld")

from muqrt.errors import MissingDependencyError, UsageError
from muqrt.training.data.manifest import check_splits, read_recordings
from muqrt.training.synth.corpus import MANIFEST, synthesize_corpus
from muqrt.training.synth.scores.collection import COLLECTIONS
from muqrt.training.synth.studio.fonts import FONTS
from muqrt.training.synth.studio.item import STUDIO_KINDS, StudioItem
from muqrt.training.synth.studio.production import Production
from muqrt.training.synth.studio.reading import reading
from muqrt.training.synth.studio.recipe import RECIPES
from muqrt.training.synth.studio.speech import Speaker, syllable

COUNTS = {"song": 1, "score": 1, "voice": 1, "note": 1}
SECONDS = 8.0
SMALL = [FONTS[name].path for name in ("TimGM6mb", "sf_GMbank")]

Corpus = tuple[Path, list[dict[str, Any]]]


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def fonts() -> list[Path]:
    if missing := [str(path) for path in SMALL if not path.is_file()]:
        pytest.skip(f"{', '.join(missing)} not installed.")
    try:
        syllable(Speaker("en-us", "f1"), "la")
    except MissingDependencyError as missing_voice:
        pytest.skip(str(missing_voice))
    return SMALL


@pytest.fixture(scope="session")
def studio(fonts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("studio") / "corpus"
    return folder, synthesize_corpus(folder, 0, COUNTS, SECONDS, fonts, recipe="studio")


def item(kind: str, index: int) -> StudioItem:
    return StudioItem(0, kind, index, SECONDS, tuple(COLLECTIONS))


def test_the_corpus_is_read_as_any_other(studio: Corpus) -> None:
    folder, rows = studio
    recordings = read_recordings(folder)
    check_splits(recordings)
    assert [row["song"].partition("-")[0] for row in rows] == list(STUDIO_KINDS)
    for row in rows:
        audio, rate = soundfile.read(folder / row["audio"])
        assert rate == 24_000
        assert len(audio) / rate == pytest.approx(row["seconds"], abs=1e-3)
        assert 0.01 < np.abs(audio).max() <= 1.0
        assert abs(audio.mean()) < 0.01
    assert recordings[1].tags is not None
    assert not set(recordings[1].tags) & set(recordings[1].tags_unknown or ())


def test_what_was_finished_is_kept_and_two_processes_make_the_same(
    studio: Corpus, fonts: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(studio[0], tmp_path / "c")
    (folder / MANIFEST).unlink()
    (folder / "rows" / "song-00000.json").unlink()
    (folder / "audio" / "note-00000.flac").unlink()
    kept = (folder / "audio" / "score-00000.flac").stat().st_mtime_ns
    rows = synthesize_corpus(folder, 0, COUNTS, SECONDS, fonts, jobs=2, recipe="studio")
    assert rows == studio[1]
    assert hashes(folder) == hashes(studio[0])
    assert (folder / "audio" / "score-00000.flac").stat().st_mtime_ns == kept


def test_another_recipe_is_refused(studio: Corpus, fonts: list[Path]) -> None:
    with pytest.raises(UsageError, match="another"):
        synthesize_corpus(studio[0], 0, COUNTS | {"score": 0}, SECONDS, fonts)
    with pytest.raises(UsageError, match="no items of kind score"):
        synthesize_corpus(studio[0] / "x", 0, COUNTS, SECONDS, fonts)


def test_a_score_says_only_what_is_known() -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        found = reading(rng, split, 6.0, ["bach"])
        labels = found.labels()
        assert found.piece.split == split
        assert labels["genre"] == "baroque"
        assert "key" not in labels  # its signature does not say major or minor
        assert {"major", "minor", "happy", "sad"} <= set(labels["tags_unknown"])
        assert not set(labels["tags"]) & set(labels["tags_unknown"])
        assert not set(labels["tags"]) >= {"vocals", "instrumental"}


def test_a_transposed_tune_is_labelled_where_it_sounds() -> None:
    rng = np.random.default_rng(1)
    labels = [reading(rng, "train", 6.0, ["oneill"]).labels() for _ in range(5)]
    keys = {each["key"] for each in labels if "key" in each}
    assert len(keys) > 2
    for each in labels:
        assert ("key" in each) != ("major" in each["tags_unknown"])


def test_a_production_depends_on_no_label() -> None:
    plans = [item("song", index).plan() for index in range(4)]
    again = [item("song", index).plan() for index in range(4)]
    assert [plan.row for plan in plans] == [plan.row for plan in again]
    drawn = [Production.sample(np.random.default_rng(i)) for i in range(300)]
    assert np.mean([each.codec is not None for each in drawn]) == pytest.approx(0.3, abs=0.1)
    assert min(each.lufs for each in drawn) < -22 < -12 < max(each.lufs for each in drawn)


def test_a_choir_of_a_soundfont_is_neither_voice_nor_none() -> None:
    rows = [item("song", index).plan().row for index in range(80)]
    choirs = [row for row in rows if "choir" in row["tags"] and "vocals" not in row["tags"]]
    assert choirs
    for row in choirs:
        assert row["tags_unknown"] == ["instrumental", "vocals"]
        assert "instrumental" not in row["tags"]


@pytest.mark.full
def test_all_installed_fonts_play_scores_and_songs_of_both_splits(tmp_path: Path) -> None:
    recipe = RECIPES["studio"]
    try:
        counts = {"song": 6, "score": 8, "voice": 0, "note": 4}
        rows = synthesize_corpus(tmp_path / "c", 1, counts, 8.0, jobs=2, recipe="studio")
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    assert len(rows) == 18
    assert recipe.kinds == STUDIO_KINDS
    assert json.loads((tmp_path / "c" / "settings.json").read_text())["recipe"] == "studio 1"
