"""``muqrt tag``, and the head on its way from the checkpoint into what it says."""

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt.cli.tag.report import Choice, lines
from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.bundle.tagging import Segment, TrackTags
from muqrt.runtime.load import load

from ...framing import muq_tagging

Command = Callable[..., CompletedProcess[str]]

SONG = "greensleeves_duo.flac"


@pytest.fixture
def with_own_head(tiny_checkpoint: Path, tiny_head: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint with its head in the subfolder where muqrt looks for it."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    shutil.copytree(tiny_head, folder / "tags")
    return folder


@pytest.fixture
def short_excerpts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures parity on less audio: the tests of parity itself have all lengths."""
    monkeypatch.setattr("muqrt.export.parity.excerpt.EXCERPT_SAMPLES", (24_000, 33_333))


@pytest.mark.usefixtures("short_excerpts")
@pytest.mark.parametrize("own", [True, False], ids=["its own", "--head"])
def test_from_a_checkpoint_to_a_certified_tagger(
    muqrt: Command,
    tiny_checkpoint: Path,
    tiny_head: Path,
    with_own_head: Path,
    music: Path,
    tmp_path: Path,
    own: bool,
) -> None:
    bundle, song = tmp_path / "bundle", ["--music", music / SONG]
    source = [with_own_head] if own else [tiny_checkpoint, "--head", tiny_head]
    done = muqrt("export", *source, "-o", bundle, *song)
    assert done.returncode == 0, done.stderr
    assert "6 tags, by the head" in done.stdout
    assert ("--no-head leaves it out" in done.stdout) == own
    assert load_bundle(bundle).artefact().certified

    source = ["--checkpoint", *source]
    done = muqrt("parity", bundle, *source, *song, "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["artefacts"][0]["certificate"]["measurements"]
    changes = [each["largest_difference"] for each in measured if each["output"] == "tags"]
    assert 0 < max(changes) <= 1e-4


@pytest.mark.usefixtures("short_excerpts")
def test_no_head_leaves_the_tags_out(
    muqrt: Command, with_own_head: Path, tiny_head: Path, music: Path, tmp_path: Path
) -> None:
    bundle, song = tmp_path / "bundle", ["--music", music / SONG]
    export = ("export", with_own_head, "-o", bundle, "--no-head")
    assert muqrt(*export, "--no-parity").returncode == 0
    assert load_bundle(bundle).tagging is None
    assert muqrt("parity", bundle, "--checkpoint", with_own_head, *song).returncode == 0
    done = muqrt("tag", music / SONG, "-b", bundle)
    assert done.returncode == 3
    assert "muqrt export CHECKPOINT --head" in done.stderr
    done = muqrt(*export, "--head", tiny_head)
    assert done.returncode == 2
    assert "--head and --no-head" in done.stderr


def test_parity_of_tags_without_their_head(
    muqrt: Command, tagged_copy: Path, tiny_checkpoint: Path
) -> None:
    before = (tagged_copy / "bundle.json").read_bytes()
    done = muqrt("parity", tagged_copy, "--checkpoint", tiny_checkpoint)
    assert (done.returncode, done.stdout) == (3, "")
    assert "--head" in done.stderr
    assert (tagged_copy / "bundle.json").read_bytes() == before


def test_a_folder_that_is_no_head(
    muqrt: Command, tiny_checkpoint: Path, music: Path, tmp_path: Path
) -> None:
    done = muqrt("export", tiny_checkpoint, "-o", tmp_path / "bundle", "--head", music)
    assert (done.returncode, done.stdout) == (3, "")
    assert str(music) in done.stderr
    assert not list(tmp_path.iterdir())


def test_info_says_what_the_tags_are(muqrt: Command, tagged_bundle: Path) -> None:
    shown = muqrt("info", tagged_bundle).stdout
    for words in (
        "6 tags: guitar, piano, cello & bass, [red]drums[/red], 日本, quiet",
        "task tagging, windows of 2 s, thresholds 0.25 to 0.90",
        "average precision 0.5",
    ):
        assert words in shown


def test_json_is_everything_the_model_says(
    muqrt: Command, tagged_bundle: Path, music: Path
) -> None:
    song = music / SONG
    done = muqrt("tag", song, "-b", tagged_bundle, "--json", "--hop-seconds", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout, parse_constant=pytest.fail)
    with load(tagged_bundle) as model:
        track = model.tag(song, hop_seconds=0.5)
    assert answer["thresholds"] == track.tagging.limits()
    assert answer["vocabulary"] == track.tagging.vocabulary
    (result,) = answer["results"]
    assert result["tags"] == dict(track.tags())
    assert result["scores"] == dict(track.ranking())
    assert result["segments"] == {
        tag: [list(each) for each in segments] for tag, segments in track.segments().items()
    }
    assert [each["scores"] for each in result["windows"]] == track.window_scores.tolist()
    edges = [each["start_seconds"] for each in result["windows"]] + [result["seconds"]]
    assert edges == track.edges_seconds.tolist()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_the_windows_that_count_or_all(
    muqrt: Command, tagged_bundle: Path, music: Path, tmp_path: Path
) -> None:
    songs = [music / SONG, music / "bach_prelude_c.mp3"]
    table = tmp_path / "tags.csv"
    assert muqrt("tag", *songs, "-b", tagged_bundle, "--csv", table, "--all").returncode == 0
    everything = read_csv(table)
    with load(tagged_bundle) as model:
        tracks = model.tag(songs)
    assert len(everything) == sum(track.window_scores.size for track in tracks)
    scores = np.concatenate([track.window_scores.ravel() for track in tracks])
    np.testing.assert_allclose([float(row["score"]) for row in everything], scores, atol=1e-6)

    assert muqrt("tag", *songs, "-b", tagged_bundle, "--csv", table).returncode == 0
    counting = [row for row in everything if float(row["score"]) >= float(row["threshold"])]
    assert read_csv(table) == counting
    assert 0 < len(counting) < len(everything)
    assert set(counting[0]) == {
        *("audio", "start_seconds", "end_seconds", "tag", "score", "threshold", "silent")
    }


def test_no_cell_is_a_formula_and_no_name_a_command_of_the_terminal(
    muqrt: Command,
    tagged_bundle: Path,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["=1+1.flac", "@a.flac", "+a.flac", "a\x1b[31m\n\u202eb.flac", "plain.flac"]
    for name in names:
        shutil.copy(music / SONG, name)
    done = muqrt("tag", *names, "-b", tagged_bundle, "--csv", "tags.csv", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a\\x1b[31m\\n\\u202eb.flac: 11" in done.stdout
    assert not set(done.stdout) & {"\x1b", "\u202e"}
    cells = {row["audio"] for row in read_csv(Path("tags.csv"))}
    assert cells == {"'=1+1.flac", "'@a.flac", "'+a.flac", *names[3:]}


def test_silence_has_no_tags_in_any_output(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 24_000)
    silent, partly, opposite, table = (
        tmp_path / name for name in ("silent.wav", "partly.wav", "opposite.wav", "tags.csv")
    )
    soundfile.write(silent, np.zeros(5 * 24_000, np.int16), 24_000)
    soundfile.write(partly, np.concatenate([np.zeros(5 * 24_000), noise]), 24_000)
    soundfile.write(opposite, np.stack([noise, -noise], axis=1), 24_000)
    words = ["tag", silent, partly, opposite, "-b", tagged_bundle, "--threshold", "0", "--all"]
    done = muqrt(*words, "--csv", table)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{silent}: 5.0 s: silent"
    assert lines[1].startswith(f"{partly}: 10.0 s: ") and "guitar" in lines[1]
    assert lines[2] == "silent: 0.0-4.5 s"
    by_file = {
        Path(each["audio"]).name: each
        for each in json.loads(muqrt(*words, "--json").stdout)["results"]
    }
    assert by_file["silent.wav"]["silent"]
    assert by_file["silent.wav"]["tags"] == by_file["silent.wav"]["segments"] == {}
    assert not any(by_file["silent.wav"]["scores"].values())
    assert by_file["partly.wav"]["silences"] == [[0.0, pytest.approx(4.48)]]
    assert [each["silent"] for each in by_file["partly.wav"]["windows"]] == [True] * 4 + [False] * 5
    assert by_file["opposite.wav"]["silences"] == []
    with load(tagged_bundle) as model:
        left = model.tag(noise.astype(np.float32), 24_000)
    assert by_file["opposite.wav"]["scores"]["guitar"] == pytest.approx(
        dict(left.ranking())["guitar"], abs=1e-3
    )
    rows = read_csv(table)
    assert [row["tag"] for row in rows if row["silent"] == "1"] == [""] * 8
    assert len([row for row in rows if row["audio"] == str(silent)]) == 4


def track_tags(scores: list[list[float]], names: list[str]) -> TrackTags:
    tagging = muq_tagging(names)
    return TrackTags(tagging, np.arange(len(scores) + 1) * 10.0, np.array(scores, np.float32))


def test_people_see_the_tracks_tags_and_where_each_was_heard() -> None:
    scores = [[0.9, 0.1, 0.2]] * 4 + [[0.9, 0.9, 0.2]] * 2 + [[0.9, 0.1, 0.2]] * 2
    track = track_tags(scores, ["guitar", "[b]solo", "silence"])
    heading, found = lines(Path("a.wav"), track, Choice())
    assert heading == "a.wav: 80.0 s: guitar"
    columns = list(zip(*found.rows, strict=True))
    assert columns[0] == ("guitar", "[b]solo")
    assert columns[1] == ("0.900", "0.300")
    assert columns[3] == ("█" * 32, "·" * 16 + "█" * 8 + "·" * 8)
    assert columns[4] == ("0.0-80.0", "40.0-60.0")

    (heading,) = lines(Path("a.wav"), track, Choice(threshold=0.95))
    assert heading == "a.wav: 80.0 s: unsure; best guess guitar (0.90)"
    _, found = lines(Path("a.wav"), track, Choice(every_tag=True))
    assert [row[0] for row in found.rows] == ["guitar", "[b]solo", "silence"]
    heading, found = lines(Path("a.wav"), track, Choice(threshold=0.1, top=1))
    assert heading == "a.wav: 80.0 s: guitar"
    assert [row[0] for row in found.rows] == ["guitar"]


def test_many_segments_are_cut_short() -> None:
    track = track_tags([[float(index % 2)] for index in range(14)], ["beat"])
    assert track.segments()["beat"][0] == Segment(10, 20)
    _, found = lines(Path("a.wav"), track, Choice())
    assert found.rows[0][4] == "10.0-20.0, 30.0-40.0, 50.0-60.0 and 4 more"


def test_a_name_in_brackets_is_shown_as_it_is(
    muqrt: Command, tagged_bundle: Path, music: Path
) -> None:
    shown = muqrt("tag", music / SONG, "-b", tagged_bundle, "--all").stdout
    assert "[red]drums[/red]" in shown
    assert str(music / SONG) in shown


def test_one_bad_file_does_not_stop_the_others(
    muqrt: Command, tagged_bundle: Path, music: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "a.wav").write_text("not audio")
    shutil.copy(music / SONG, folder / "b.flac")
    soundfile.write(folder / "c.wav", np.zeros(1000), 24_000)
    table = tmp_path / "tags.csv"
    done = muqrt("tag", folder, "-b", tagged_bundle, "--csv", table)
    assert done.returncode == 3
    assert "2 of 3 files" in done.stderr
    assert done.stdout.count("FAILED") == 2
    assert f"Wrote {table}" in done.stdout
    assert {row["audio"] for row in read_csv(table)} == {str(folder / "b.flac")}
    done = muqrt("tag", folder, "-b", tagged_bundle, "--json")
    results = json.loads(done.stdout)["results"]
    assert [Path(each["audio"]).name for each in results if "error" in each] == ["a.wav", "c.wav"]


def test_a_chart_of_one_track(
    muqrt: Command, tagged_bundle: Path, music: Path, tmp_path: Path
) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    song = shutil.copy(music / SONG, tmp_path / "$_$.flac")  # no formula
    sizes = []
    for options in ([], ["--all"], ["--threshold", "1"], ["--top", "1"]):
        chart = tmp_path / "chart.png"
        done = muqrt("tag", song, "-b", tagged_bundle, "--chart", chart, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"Wrote {chart}" in done.stdout
        sizes.append(matplotlib_image.imread(chart).shape)
        chart.unlink()
    assert sizes[3][0] < sizes[0][0] <= sizes[1][0]


def test_a_chart_of_a_file_that_cannot_be_used(
    muqrt: Command, tagged_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    chart = tmp_path / "chart.png"
    chart.write_text("older")
    done = muqrt("tag", tmp_path / "gone.wav", "-b", tagged_bundle, "--chart", chart)
    assert done.returncode == 3
    assert "FAILED" in done.stdout and "Wrote" not in done.stdout
    assert chart.read_text() == "older"


def test_a_chart_needs_matplotlib(
    muqrt: Command,
    tagged_bundle: Path,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = muqrt("tag", music / SONG, "-b", tagged_bundle, "--chart", tmp_path / "a.png")
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install 'muqrt[bench]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chart", "{}/a.jpg"], "a.png"),
        (["{music}", "--chart", "{}/a.png"], "for one track, not for 5"),
        (["--csv", "{}"], "a folder is in the way"),
        (["--hop-seconds", "2.5"], "at most the window's 2 s"),
        (["--hop-seconds", "0"], "above 0"),
        (["--hop-seconds", "nan"], ""),
        (["--threshold", "1.5"], ""),
        (["--threshold", "nan"], ""),
        (["--top", "0"], ""),
        (["--server", "localhost:1"], "choose one"),
        (["--timeout-seconds", "1"], "are for --server"),
        (["--window", "whole"], "clips of the length that they were trained on"),
    ],
)
def test_usage_errors(
    muqrt: Command,
    tagged_bundle: Path,
    music: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    filled = [each.format(tmp_path, music=music) for each in options]
    done = muqrt("tag", music / SONG, "-b", tagged_bundle, *filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_older_csv_is_replaced_whatever_the_audio_is_called(
    muqrt: Command, tagged_bundle: Path, music: Path, tmp_path: Path
) -> None:
    table = tmp_path / "tags.csv"
    table.write_text("older")
    song = tmp_path / os.fsdecode(b"caf\xe9.flac")
    shutil.copy(music / SONG, song)
    assert muqrt("tag", song, "-b", tagged_bundle, "--csv", table).returncode == 0
    assert table.read_bytes().startswith(b"audio,")
    assert b"caf\xe9.flac" in table.read_bytes()
