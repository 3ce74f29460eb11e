"""``muqrt tag --labels``: tags from words on the command line."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Annotated

import numpy as np
import pytest
import typer

from muqrt.cli.parameters import expand_options
from muqrt.cli.tag.labels import LABELS_SHOWN, LabelOptions, LabelsCommand
from muqrt.runtime.load import load
from muqrt.runtime.text.labels import LabelSet
from muqrt.runtime.text.zero_shot import LabelTagger, LabelTags

Command = Callable[..., CompletedProcess[str]]

SONG = "greensleeves_duo.flac"
LABELS = ("jazz piano", "欢快的小提琴", "🎻")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "muqrt"


@pytest.fixture(scope="module")
def tagged(mulan_bundle: Path, music: Path) -> LabelTags:
    labels = LabelSet(LABELS)
    with load(mulan_bundle) as model:
        latents = labels.latents(model.embed_text)
        return LabelTagger(model.session, labels, latents).tag(music / SONG)


def test_json_is_everything_the_model_says(
    muqrt: Command, mulan_bundle: Path, music: Path, tagged: LabelTags, cache: Path
) -> None:
    song, rest = music / SONG, ["-b", mulan_bundle, "--json"]
    done = muqrt("tag", song, "--labels", *LABELS, *rest)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (answer["task"], answer["window_seconds"]) == ("zero-shot", 10)
    assert answer["vocabulary"] == list(LABELS)
    assert answer["thresholds"] == dict.fromkeys(LABELS, 1 / 3)
    assert answer["templates"][0] == "{}" and answer["temperature"] > 0
    (result,) = answer["results"]
    assert list(result["scores"].items()) == [tuple(each) for each in tagged.ranking()]
    cosines = dict(zip(LABELS, tagged.cosines.tolist(), strict=True))
    assert result["cosines"] == cosines and list(result["cosines"]) == list(result["scores"])
    assert result["tags"] == dict(tagged.tags())
    for name, expected in (("scores", tagged.window_scores), ("cosines", tagged.window_cosines)):
        assert [each[name] for each in result["windows"]] == expected.tolist()
    assert result["windows"][-1]["end_seconds"] == result["seconds"] == tagged.seconds
    assert list(cache.iterdir()) == [cache / "texts.sqlite"]


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("a.mp3 b.mp3 --labels x y z", ["x", "y", "z"]),
        ("a.mp3 --labels x -n 1 b.mp3 --labels y z", ["x", "y", "z"]),
        ("a.mp3 --labels x --labels y b.x", ["x", "y", "b.x"]),
        ("--labels=-x --labels=y a.mp3 b.mp3", ["-x", "y"]),
        ("-n 1 --labels x y -- a.mp3 --labels", ["x", "y"]),
        ("a.mp3", None),
    ],
)
def test_every_word_up_to_the_next_option_is_a_label(words: str, labels: list[str] | None) -> None:
    app, found = typer.Typer(), []

    @app.command(cls=LabelsCommand)
    @expand_options
    def run(
        audio: Annotated[list[str], typer.Argument()],
        options: LabelOptions,
        number: Annotated[int, typer.Option("-n")] = 0,
    ) -> None:
        found.append((audio, options.labels))

    app(words.split(), standalone_mode=False)
    audio = [word for word in words.split() if word.endswith(".mp3") and word not in (labels or [])]
    assert found == [([*audio, "--labels"] if "--" in words.split() else audio, labels)]


def test_templates_a_file_and_no_cache(
    muqrt: Command, mulan_bundle: Path, music: Path, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[1:]), encoding="utf-8")
    place = ["-b", mulan_bundle, "--json", "--template", "{}", "--template", "a {} song"]
    given = ["--labels", LABELS[0], "--labels-file", tmp_path / "labels.txt", "--no-cache"]
    answer = json.loads(muqrt("tag", music / SONG, *given, *place).stdout)
    assert answer["templates"] == ["{}", "a {} song"]
    with load(mulan_bundle) as model:
        labels = LabelSet(LABELS, ("{}", "a {} song"))
        latents = labels.latents(model.embed_text)
        expected = LabelTagger(model.session, labels, latents).tag(music / SONG)
    found = answer["results"][0]["cosines"]
    np.testing.assert_allclose([found[label] for label in LABELS], expected.cosines, atol=1e-6)
    assert not cache.exists()


def test_for_people(
    muqrt: Command, mulan_bundle: Path, music: Path, tagged: LabelTags, tmp_path: Path
) -> None:
    song, table, chart = music / SONG, tmp_path / "tags.csv", tmp_path / "chart.png"
    pytest.importorskip("matplotlib")
    rest = ["-b", mulan_bundle, "--all", "--csv", table, "--chart", chart]
    done = muqrt("tag", song, "--labels", *LABELS, *rest)
    assert (done.returncode, done.stderr) == (0, "")
    best = tagged.ranking()[0]
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    index = LABELS.index(best.tag)
    for words in (best.tag, f"{tagged.cosines[index]:.3f}", f"{best.score:.3f}", "0.333"):
        assert words in rows[0]
    assert chart.read_bytes().startswith(b"\x89PNG")
    with table.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["tag"] for row in written[:3]] == list(LABELS)
    cosines = [float(row["cosine"]) for row in written]
    np.testing.assert_allclose(cosines, tagged.window_cosines.ravel(), atol=1e-6)
    scores = [float(row["score"]) for row in written]
    np.testing.assert_allclose(scores, tagged.window_scores.ravel(), atol=1e-6)


def test_many_labels_and_a_very_long_one(
    muqrt: Command, mulan_bundle: Path, music: Path, tmp_path: Path
) -> None:
    labels = ["word " * 2_000, *(f"label {index}" for index in range(100))]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    given = ["tag", music / SONG, "-b", mulan_bundle, "--labels-file", tmp_path / "labels.txt"]
    template = ["--template", "{}"]

    def rows(shown: str) -> int:
        return sum("│     0.010 │" in line for line in shown.splitlines())  # one over 101

    done = muqrt(*given, *template)
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == LABELS_SHOWN
    done = muqrt(*given, *template, "--all")
    assert rows(done.stdout) == 101
    assert max(map(len, done.stdout.splitlines()[1:])) <= 120


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels"], "needs a word"),
        (["--labels", "--json"], "needs a word"),
        (["--labels", ""], "label 0 is empty"),
        (["--labels", "a", "b", " a"], "'a' is given twice"),
        (["--labels", "a\nb"], "cannot be printed"),
        (["--labels", "a", "--template", "a song"], "needs {}"),
        (["--template", "{}"], "for --labels"),
        (["--labels", "a", "--hop-seconds", "5"], "--hop-seconds is for a head's tags"),
        (["--labels-file", "gone.txt"], "No such file"),
        (["--labels", "a", "--server", "localhost:1"], "choose one"),
        (["--labels", "a", "--bulk"], "--bulk is for --server"),
        (["--labels-file", "{empty}"], "0 labels"),
    ],
)
def test_usage_errors(
    muqrt: Command,
    mulan_bundle: Path,
    music: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    filled = [tmp_path / "empty.txt" if word == "{empty}" else word for word in words]
    done = muqrt("tag", music / SONG, "-b", mulan_bundle, *filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_bundles_that_know_no_texts_or_no_tags(
    muqrt: Command, mulan_bundle: Path, tiny_bundle: Path, music: Path
) -> None:
    done = muqrt("tag", music / SONG, "-b", tiny_bundle, "--labels", "a")
    assert (done.returncode, done.stdout) == (3, "")
    assert "knows no texts" in done.stderr
    done = muqrt("tag", music / SONG, "-b", mulan_bundle)
    assert (done.returncode, done.stdout) == (3, "")
    assert "a MuQ-MuLan without a tag head" in done.stderr
    assert "name what to tag with, for example --labels" in done.stderr


def test_words_that_were_not_learned(
    muqrt: Command, worded_bundle: Path, music: Path, tmp_path: Path
) -> None:
    given = ["tag", music / SONG, "-b", worded_bundle, "--json", "--labels"]
    done = muqrt(*given, "Zydeco", "zydeco pianos", "小提琴")
    assert done.stderr == (
        'muqrt: "Zydeco", "小提琴" are not among the words this model learned; expect a guess.\n'
    )
    assert json.loads(done.stdout)["unlearned_words"] == ["Zydeco", "小提琴"]
    done = muqrt(*given, "jazz", "钢琴")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["unlearned_words"] == []
    shutil.copytree(worded_bundle, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "words.txt").write_text("zydeco\n")
    done = muqrt("tag", music / SONG, "-b", tmp_path / "spoilt", "--labels", "zydeco")
    assert done.returncode == 3 and "words.txt has changed since it was exported" in done.stderr


def test_a_bundle_of_an_earlier_version_says_nothing(
    muqrt: Command, previous: Path, music: Path
) -> None:
    done = muqrt("tag", music / SONG, "-b", previous / "mulan", "--labels", "zydeco", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "unlearned_words" not in json.loads(done.stdout)


@pytest.mark.parametrize("word", ["b.flac", "{music}/greensleeves_duo.flac"])
def test_audio_behind_the_labels_is_not_swallowed(
    muqrt: Command, mulan_bundle: Path, music: Path, word: str
) -> None:
    words = ["--labels", "rock", word.format(music=music), "-b", mulan_bundle]
    for done in (muqrt("tag", music / SONG, *words), muqrt("tag", *words)):
        assert (done.returncode, done.stdout) == (2, "")
        assert "an audio file, not a label. Name it before --labels" in done.stderr
