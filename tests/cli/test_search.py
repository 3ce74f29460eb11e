"""``muqrt search``: from a folder of music to what fits a question."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

pytest.importorskip("lancedb")

from muqrt.cli.place import Local
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load
from muqrt.runtime.search.index import open_index

Command = Callable[..., CompletedProcess[str]]

WORDS = "rainy night saxophone"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Three sounds, one of them a level down, and a file that is none."""
    folder = tmp_path / "music"
    (folder / "雨夜").mkdir(parents=True)
    seconds = np.arange(36_000) / 24_000
    for name, hertz in {"low.wav": 110, "雨夜/middle.flac": 440, "high.ogg": 3_000}.items():
        soundfile.write(folder / name, np.sin(2 * np.pi * hertz * seconds) * 0.3, 24_000)
    (folder / "bad.mp3").write_text("not audio")
    return folder


def answer(muqrt: Command, *words: object) -> dict:
    done = muqrt("search", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout, parse_constant=pytest.fail)


def test_by_words_and_by_music(
    muqrt: Command, mulan_bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    assert found["index"] == {"files": 4, "new": 4, "gone": 0, "unusable": 1}
    (failed,) = found["failed"]
    assert failed["audio"] == str(library / "bad.mp3") and "not audio" in failed["error"]
    songs = [library / "low.wav", library / "雨夜/middle.flac", library / "high.ogg"]
    with load(mulan_bundle) as model:
        by_words = model.similarity(songs, [WORDS])[:, 0]
        music = model.embed_audio(songs)
    ranking = [(str(songs[i]), by_words[i]) for i in np.argsort(-by_words)]
    assert [each["audio"] for each in found["results"]] == [name for name, _ in ranking]
    cosines = [each["cosine"] for each in found["results"]]
    np.testing.assert_allclose(cosines, [cosine for _, cosine in ranking], atol=1e-5)

    # Music that is in the library is not its own answer; elsewhere it is.
    music /= np.linalg.norm(music, axis=1, keepdims=True)
    found = answer(muqrt, library, "--like", songs[1], "-b", mulan_bundle, "--top", "1")
    assert found["index"] == {"files": 4, "new": 0, "gone": 0, "unusable": 1}
    nearest = max(0, 2, key=lambda i: music[i] @ music[1])
    assert [each["audio"] for each in found["results"]] == [str(songs[nearest])]
    assert found["results"][0]["cosine"] == pytest.approx(music[nearest] @ music[1], abs=1e-5)
    with monkeypatch.context() as patched:  # its embedding is in the index already
        patched.setattr(Local, "open_session", None)
        again = answer(muqrt, library, "--like", songs[1], "-b", mulan_bundle, "--top", "1")
    assert again == found
    elsewhere = shutil.copy(songs[1], library.parent / "elsewhere.flac")
    found = answer(muqrt, library, "--like", elsewhere, "-b", mulan_bundle, "--top", "1")
    assert found["results"][0]["audio"] == str(songs[1])


def test_for_people(muqrt: Command, mulan_bundle: Path, library: Path, tmp_path: Path) -> None:
    place = ["-b", mulan_bundle, "--index", tmp_path / "index"]
    done = muqrt("search", library, *place)
    assert done.returncode == 0
    assert f"FAILED {library / 'bad.mp3'}: not audio" in done.stdout
    assert "4 files, 4 of them new or changed, 0 gone, 1 that cannot be used" in done.stdout
    assert "cosine" not in done.stdout
    done = muqrt("search", library, WORDS, *place)
    assert "FAILED" not in done.stdout
    assert done.stdout.index("cosine") < done.stdout.index("雨夜/middle.flac")
    (library / "high.ogg").unlink()
    done = muqrt("search", library, WORDS, "--retry", *place)
    assert "3 files, 1 of them new or changed, 1 gone" in done.stdout
    assert "high.ogg" not in done.stdout and "FAILED" in done.stdout
    assert not (library / ".muqrt-index").exists()


def test_nothing_that_can_be_used(muqrt: Command, mulan_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    done = muqrt("search", folder, WORDS, "-b", mulan_bundle)
    assert done.returncode == 3 and "no audio files" in done.stderr
    (folder / "bad.mp3").write_text("not audio")
    done = muqrt("search", folder, WORDS, "-b", mulan_bundle)
    assert done.returncode == 0 and "Nothing found." in done.stdout
    # An empty mount point must not empty the index.
    (folder / "bad.mp3").unlink()
    muqrt("search", folder, WORDS, "-b", mulan_bundle)
    (folder / "bad.mp3").write_text("not audio")
    assert answer(muqrt, folder, "-b", mulan_bundle)["index"]["new"] == 0


def test_a_question_in_words_needs_no_ears(
    muqrt: Command, mulan_bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    monkeypatch.setattr("muqrt.runtime.load.open_bundle", None)
    monkeypatch.setattr("muqrt.runtime.text.cache.open_text_encoder", None)
    again = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    assert again["results"] == first["results"]


def test_words_that_were_not_learned(
    muqrt: Command, worded_bundle: Path, library: Path, tmp_path: Path
) -> None:
    home = tmp_path / "index.lance"
    for place in (["--index", home], []):  # a folder of music, and an index by itself
        given = ["search", home if not place else library, *place, "-b", worded_bundle, "--json"]
        done = muqrt(*given, "a zydeco piano")
        assert done.stderr == (
            'muqrt: "zydeco" is not among the words this model learned; expect a guess.\n'
        )
        assert json.loads(done.stdout)["unlearned_words"] == ["zydeco"]
        done = muqrt(*given, "jazz")
        assert (done.stderr, json.loads(done.stdout)["unlearned_words"]) == ("", [])


def test_another_models_index_is_refused(muqrt: Command, mulan_bundle: Path, library: Path) -> None:
    joint = load_bundle(mulan_bundle).joint
    assert joint is not None
    open_index(library / ".muqrt-index", "b" * 64, joint.width)
    done = muqrt("search", library, WORDS, "-b", mulan_bundle)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this index is another model's" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["{library}", "a", "--like", "b.mp3", "-b", "{mulan}"], 2, "ask one of them"),
        (["{library}", "a", "-b", "{mulan}", "--window", "whole"], 2, "latents come from clips"),
        (["{library}/low.wav", "a", "-b", "{mulan}"], 2, "no such folder"),
        (["{library}", "a", "-b", "{tiny}"], 3, "not the bundle of a MuQ-MuLan"),
        (["{library}", "a", "-b", "nowhere"], 3, "muqrt export"),
        (["{library}", "--like", "gone.mp3", "-b", "{mulan}"], 3, "no such file"),
        (["{library}", "a"], 2, "a MuQ-MuLan, which knows words"),
        (["{library}", "a", "-b", "{mulan}", "--artefact", "int4"], 3, "it has:"),
    ],
    ids=str,
)
def test_what_cannot_be_asked(
    muqrt: Command,
    mulan_bundle: Path,
    tiny_bundle: Path,
    library: Path,
    words: list[str],
    status: int,
    message: str,
) -> None:
    places = {"library": library, "mulan": mulan_bundle, "tiny": tiny_bundle}
    done = muqrt("search", *(word.format_map(places) for word in words))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr


def test_without_the_extra(
    muqrt: Command, mulan_bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    done = muqrt("search", library, "-b", mulan_bundle)
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install 'muqrt[search]'" in done.stderr


def test_two_at_once(mulan_bundle: Path, library: Path) -> None:
    """Both succeed, one of them after the other, and no file is in the index twice."""
    for copy in range(8):
        shutil.copy(library / "low.wav", library / f"{copy}.wav")
    command = [sys.executable, "-m", "muqrt", "search", library, "-b", mulan_bundle, "--json"]
    searches = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    found = [json.loads(search.communicate()[0]) for search in searches]
    assert [search.returncode for search in searches] == [0, 0]
    # The second finds all that the first has embedded.
    assert sorted(each["index"]["new"] for each in found) == [0, 12]
    index = library / ".muqrt-index"
    bundle = load_bundle(mulan_bundle)
    assert bundle.joint is not None
    opened = open_index(index, bundle.artefact().digest, bundle.joint.width)
    assert opened.doubles() == [] and len(opened.entries()) == 12
    assert [each.name for each in index.iterdir()] == ["tracks.lance"]


def test_a_catalogues_export(
    muqrt: Command, mulan_bundle: Path, library: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec")
    job, export = tmp_path / "job", tmp_path / "music.parquet"
    for words in (
        ["plan", library, "-o", job, "-b", mulan_bundle, "--outputs", "latents"],
        ["run", job],
        ["export", job, "-o", export],
        ["export", job, "-o", tmp_path / "music.lance"],
    ):
        done = muqrt("catalogue", *words)
        assert done.returncode == 0, done.stderr
    by_folder = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    found = answer(muqrt, export, WORDS, "-b", mulan_bundle)
    assert found == {"index": {"files": 3}, "results": by_folder["results"]}
    assert (tmp_path / "music.parquet.muqrt-index").is_dir()
    song = str(library / "low.wav")
    like = answer(muqrt, export, "--like", song, "-b", mulan_bundle)
    assert like["results"] == answer(muqrt, library, "--like", song, "-b", mulan_bundle)["results"]
    of_index = answer(muqrt, tmp_path / "music.lance", WORDS, "-b", mulan_bundle)
    assert [each["cosine"] for each in of_index["results"]] == [
        each["cosine"] for each in found["results"]
    ]
    done = muqrt("search", export, "--retry", "-b", mulan_bundle)
    assert (done.returncode, done.stdout) == (2, "") and "muqrt catalogue retry" in done.stderr


def test_an_approximate_search_says_so(
    muqrt: Command, mulan_bundle: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 300
    for number in range(rows):
        tone = np.sin(np.arange(24_000) * (0.01 + number / 1_000)) * 0.3
        soundfile.write(library / f"{number}.wav", tone, 24_000)
    exact = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    assert "approximate" not in exact
    monkeypatch.setattr("muqrt.runtime.search.index.LEAST_APPROXIMATED_BYTES", 1)
    found = answer(muqrt, library, WORDS, "-b", mulan_bundle)
    assert found["approximate"]["rows"] == rows + 4
    assert found["approximate"]["recall_at_10"] >= 0.95
    assert answer(muqrt, library, WORDS, "-b", mulan_bundle, "--exact") == exact | {
        "index": found["index"]
    }
    assert "--exact compares with all" in muqrt("search", library, WORDS, "-b", mulan_bundle).stdout
