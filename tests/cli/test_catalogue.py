"""``muqrt catalogue`` from plan to export."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Three short tracks, one of which is no audio, and what belongs to no catalogue."""
    folder = tmp_path / "music"
    folder.mkdir()
    for number in range(2):
        soundfile.write(folder / f"{number}.flac", np.full(12_000, 0.1 * number), 24_000)
    (folder / "2.flac").write_bytes(b"no audio")
    (folder / "cover.jpg").write_bytes(b"")
    return folder


def test_from_plan_to_export(
    muqrt: Command, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["catalogue", "plan", "music", "-o", "job", "--partition-tracks", 2]
    planned = json.loads(muqrt(*words, "--json").stdout)
    assert (planned["tracks"], planned["partitions"], planned["repeated"]) == (3, 2, 0)
    refused = muqrt("catalogue", "export", "job", "-o", "all.parquet")
    assert (refused.returncode, "3 tracks are still to do" in refused.stderr) == (2, True)
    one = json.loads(muqrt("catalogue", "run", "job", "--shard", "1/2", "--json").stdout)
    assert (one["tracks"], one["failed"], one["partitions"]) == (0, 1, 1)
    rest = json.loads(muqrt("catalogue", "run", "job", "--workers", 2, "--json").stdout)
    assert (rest["tracks"], rest["failed"], rest["left"], rest["deaths"]) == (2, 0, 0, 0)
    nothing = json.loads(muqrt("catalogue", "run", "job", "--json").stdout)
    assert nothing["partitions"] == 0
    found = json.loads(muqrt("catalogue", "status", "job", "--json").stdout)
    assert (found["done"], found["failed"], found["to_do"]) == (2, {"audio": 1}, 0)
    assert "2 of 3 tracks done, 1 failed (1 audio)" in muqrt("catalogue", "status", "job").stdout
    exported = json.loads(muqrt("catalogue", "export", "job", "-o", "all.parquet", "--json").stdout)
    assert (exported["rows"], exported["failed"]) == (2, 1)
    table = parquet.read_table("all.parquet")
    assert table["key"].to_pylist() == [str(library / "0.flac"), str(library / "1.flac")]
    elsewhere = muqrt("catalogue", "export", "job", "-o", "s3://bucket/all.lance")
    assert (elsewhere.returncode, "written on a disk" in elsewhere.stderr) == (2, True)
    indexed = json.loads(muqrt("catalogue", "export", "job", "-o", "all.lance", "--json").stdout)
    assert indexed["rows"] == 2
    retried = json.loads(muqrt("catalogue", "retry", "job", "--failed", "--json").stdout)
    assert retried == {"tracks": 1}


def test_globs_and_lists_name_tracks_once(
    muqrt: Command, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text(f"id,url\n1,music/1.flac\n2,{library}/2.flac\n3,\n")
    words = ["plan", "list.csv", "music/[01].flac", "music/0.flac", "-o", "job", "--json"]
    planned = json.loads(muqrt("catalogue", *words).stdout)
    assert (planned["tracks"], planned["repeated"]) == (3, 2)
    words = ["plan", "list.csv", "-o", "other", "--column", "id"]
    assert "holds int64, not paths" in muqrt("catalogue", *words).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plan nowhere -o job", "nowhere: no such file or folder."),
        ("plan . -o job", "no audio files found"),
        ("plan . -o job --outputs embedding,loudness", "give some of embedding, tags"),
        ("plan . -o job --outputs latents", "this model shares no space with texts"),
        ("status job", "no job is here"),
        ("retry job", "say which tracks to try again"),
        ("export job -o all.csv", "name a file .parquet or a folder .lance"),
        ("run s3x://bucket/job", "no storage that fsspec knows"),
    ],
)
def test_a_mistake_is_one_line(
    words: str, said: str, muqrt: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = muqrt("catalogue", *words.split())
    assert done.returncode in (2, 3)
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shard", ["2/2", "x", "1", "-1/2", "0/0"])
def test_a_shard_is_checked(
    shard: str, muqrt: Command, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert muqrt("catalogue", "plan", "music", "-o", "job").returncode == 0
    done = muqrt("catalogue", "run", "job", f"--shard={shard}")
    assert (done.returncode, "give INDEX/COUNT" in done.stderr) == (2, True)
