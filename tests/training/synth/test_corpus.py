import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from muqrt.cli.train.synth_corpus import commands
from muqrt.errors import UsageError
from muqrt.training.synth.corpus import MANIFEST, SETTINGS, synthesize_corpus
from muqrt.training.synth.harmony import MODES, TONICS
from muqrt.training.synth.item import KINDS, Item, ItemPlan
from muqrt.training.synth.synthesizer import Synthesizer

COUNTS = {"song": 3, "voice": 3, "note": 3}
SONG_SECONDS = 8.0

Corpus = tuple[Path, list[dict[str, Any]]]


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_manifest_is_as_promised(corpus: Corpus) -> None:
    folder, rows = corpus
    lines = (folder / MANIFEST).read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert Counter(row["song"].partition("-")[0] for row in rows) == COUNTS
    for row in rows:
        audio, rate = soundfile.read(folder / row["audio"])
        assert rate == 24_000
        assert audio.ndim == 1
        assert len(audio) / rate == pytest.approx(row["seconds"], abs=1e-3)
        assert np.isfinite(audio).all()
        assert 0.05 < np.abs(audio).max() <= 1.0
        if row["audio"].endswith(".flac"):
            assert np.abs(audio).max() < 1.0


def test_labels_are_those_of_the_kind() -> None:
    song = Item(0, "song", 1, 30).plan().row
    tonic, mode = song["key"].split()
    assert tonic in TONICS
    assert mode in MODES
    assert -1 <= song["valence"] <= 1
    assert -1 <= song["arousal"] <= 1
    assert song["genre"] in song["tags"]
    assert song["sections"][0][0] == 0
    assert song["sections"][-1][1] == song["seconds"]
    assert 40 < song["tempo_bpm"] < 240
    note = Item(0, "note", 0, 30).plan().row
    assert set(note) == {"audio", "song", "split", "seconds", "instrument", "pitch"}
    assert 0 <= note["pitch"] <= 127


@pytest.mark.parametrize("kind", KINDS)
def test_splits_have_their_shares(kind: str) -> None:
    splits = Counter(Item(0, kind, index, 30).split for index in range(250))
    assert splits == {"train": 200, "valid": 20, "test": 30}


def test_any_number_of_jobs_gives_the_same_bytes(
    corpus: Corpus, soundfont: Path, tmp_path: Path
) -> None:
    rows = synthesize_corpus(tmp_path / "c", 0, COUNTS, SONG_SECONDS, [soundfont], jobs=2)
    assert rows == corpus[1]
    assert hashes(tmp_path / "c") == hashes(corpus[0])


def test_a_smaller_corpus_is_a_part_of_a_larger_one(
    corpus: Corpus, soundfont: Path, tmp_path: Path
) -> None:
    small = {"song": 1, "voice": 2, "note": 1}
    rows = synthesize_corpus(tmp_path / "c", 0, small, SONG_SECONDS, [soundfont])
    assert all(row in corpus[1] for row in rows)
    larger = hashes(corpus[0])
    for name, digest in hashes(tmp_path / "c" / "audio").items():
        assert larger[name] == digest


def test_a_killed_run_goes_on_where_it_was(
    corpus: Corpus, soundfont: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    encoded = ItemPlan.encoded
    left = iter(range(4))

    def killed(plan: ItemPlan, synthesizer: Any) -> bytes:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encoded(plan, synthesizer)

    monkeypatch.setattr(ItemPlan, "encoded", killed)
    with pytest.raises(KeyboardInterrupt):
        synthesize_corpus(folder, 0, COUNTS, SONG_SECONDS, [soundfont])
    done = list((folder / "audio").iterdir())
    assert len(done) == 4
    assert not (folder / MANIFEST).exists()
    times = {path: path.stat().st_mtime_ns for path in done}

    monkeypatch.setattr(ItemPlan, "encoded", encoded)
    rows = synthesize_corpus(folder, 0, COUNTS, SONG_SECONDS, [soundfont])
    assert rows == corpus[1]
    assert hashes(folder) == hashes(corpus[0])
    assert times == {path: path.stat().st_mtime_ns for path in done}


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"seed": 1}, "seed"), ({"song_seconds": 9.0}, "song_seconds")],
)
def test_other_settings_are_refused(
    corpus: Corpus, soundfont: Path, tmp_path: Path, changed: dict[str, Any], word: str
) -> None:
    folder = shutil.copytree(corpus[0], tmp_path / "c")
    before = hashes(folder)
    arguments = {"seed": 0, "song_seconds": SONG_SECONDS, **changed}
    with pytest.raises(UsageError, match=f"another {word}"):
        synthesize_corpus(folder, counts=COUNTS, soundfonts=[soundfont], **arguments)
    assert hashes(folder) == before


def test_another_folder_is_left_alone(soundfont: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something other"):
        synthesize_corpus(tmp_path, 0, COUNTS, SONG_SECONDS, [soundfont])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="not a folder"):
        synthesize_corpus(tmp_path / "thesis.txt", 0, COUNTS, SONG_SECONDS, [soundfont])


def test_a_soundfont_without_instruments_is_refused(
    soundfont: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Synthesizer, "exists", lambda self, preset: preset.program > 3)
    with pytest.raises(UsageError, match="fewer than two presets of piano"):
        synthesize_corpus(tmp_path / "c", 0, COUNTS, SONG_SECONDS, [soundfont], jobs=2)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("spoilt", ["", "[", "[1]", "7", "null", "{}"])
def test_spoilt_settings_are_refused(soundfont: Path, tmp_path: Path, spoilt: str) -> None:
    (tmp_path / SETTINGS).write_text(spoilt)
    with pytest.raises(UsageError, match="another"):
        synthesize_corpus(tmp_path, 0, COUNTS, SONG_SECONDS, [soundfont])


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 2, 2)])
def test_impossible_counts_are_refused(counts: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one"):
        synthesize_corpus(tmp_path / "c", 0, dict(zip(KINDS, counts, strict=True)), 8.0)
    assert not (tmp_path / "c").exists()


def test_the_command_counts_in_json(soundfont: Path, tmp_path: Path) -> None:
    output = tmp_path / "c"
    counts = ["--songs", "0", "--voices", "1", "--notes", "2", "--jobs", "1"]
    arguments = ["-o", str(output), "--soundfont", str(soundfont), *counts]
    facts = json.loads(CliRunner().invoke(commands, [*arguments, "--json"]).stdout)
    assert facts["manifest"] == str(output / MANIFEST)
    assert sum(sum(each.values()) for each in facts["counts"].values()) == 3
    again = CliRunner().invoke(commands, arguments)
    assert again.exit_code == 0
    assert "3 recordings" in again.stdout
