"""``muqrt tokens`` writes whole files only, and one bad file harms no other."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.load import load

Command = Callable[..., CompletedProcess[str]]
Expected = Callable[[Path], np.ndarray]

NAMES = ("a.wav", "b.flac", "album/a.wav")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with three songs, one of them in a folder of its own, and something else."""
    folder = tmp_path / "songs"
    (folder / "album").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 6_000 + 1_000 * seed)
        soundfile.write(folder / name, noise, 24_000)
    return folder


@pytest.fixture(scope="module")
def expected(token_bundle: Path) -> Iterator[Expected]:
    with load(token_bundle, threads=1) as model:
        yield model.tokens


def spoil(songs: Path) -> Path:
    (songs / "aa.wav").write_text("not audio")
    return songs / "aa.wav"


def test_one_file(
    muqrt: Command, token_bundle: Path, songs: Path, tmp_path: Path, expected: Expected
) -> None:
    done = muqrt("tokens", songs / "a.wav", "-b", token_bundle, "-o", tmp_path / "a.npy")
    assert done.returncode == 0, done.stderr
    assert f"8 x 6 -> {tmp_path / 'a.npy'}" in done.stdout
    written = np.load(tmp_path / "a.npy")
    assert written.dtype == np.int16
    np.testing.assert_array_equal(written, expected(songs / "a.wav"))


def test_without_a_file_the_tokens_are_shown(
    muqrt: Command, token_bundle: Path, songs: Path, expected: Expected
) -> None:
    tokens = expected(songs / "a.wav")
    command = ("tokens", songs / "a.wav", "-b", token_bundle)
    (result,) = json.loads(muqrt(*command, "--json").stdout)["results"]
    assert result["shape"] == [8, 6]
    np.testing.assert_array_equal(result["tokens"], tokens)
    assert " ".join(map(str, tokens[0, :4])) in muqrt(*command).stdout


def test_a_folder_goes_on_where_it_ended(
    muqrt: Command, token_bundle: Path, songs: Path, tmp_path: Path, expected: Expected
) -> None:
    bad, out = spoil(songs), tmp_path / "out"
    command = ("tokens", songs, "-b", token_bundle, "-o", out, "--json")
    done = muqrt(*command)
    assert done.returncode == 3
    assert "1 of 4 files" in done.stderr
    failed = [each["audio"] for each in json.loads(done.stdout)["results"] if "error" in each]
    assert failed == [str(bad)]
    for name in NAMES:
        np.testing.assert_array_equal(np.load(out / f"{name}.npy"), expected(songs / name))
    bad.unlink()
    report = json.loads(muqrt(*command).stdout)
    assert (report["results"], report["kept"]) == ([], 3)


def test_a_folder_of_tokens_takes_nothing_else(
    muqrt: Command, token_bundle: Path, songs: Path, tmp_path: Path
) -> None:
    assert muqrt("tokens", songs, "-b", token_bundle, "-o", tmp_path / "out").returncode == 0
    done = muqrt("embed", songs, "-b", token_bundle, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "other ones than embeddings" in done.stderr


def test_an_npz_has_every_track_by_its_name(
    muqrt: Command, token_bundle: Path, songs: Path, tmp_path: Path, expected: Expected
) -> None:
    spoil(songs)
    output = tmp_path / "tokens.npz"
    done = muqrt("tokens", songs, "-b", token_bundle, "-o", output)
    assert done.returncode == 3
    with np.load(output) as archive:
        assert set(archive) == set(NAMES)
        for name in NAMES:
            assert archive[name].dtype == np.int16
            np.testing.assert_array_equal(archive[name], expected(songs / name))


def test_a_parquet_has_a_row_for_each_track(
    muqrt: Command,
    token_bundle: Path,
    songs: Path,
    tmp_path: Path,
    expected: Expected,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("muqrt.cli.outputs.archives._ROW_GROUP_TRACKS", 2)
    spoil(songs)
    output = tmp_path / "tokens.parquet"
    assert muqrt("tokens", songs, "-b", token_bundle, "-o", output).returncode == 3
    assert parquet.ParquetFile(output).num_row_groups == 2
    table = parquet.read_table(output)
    assert [str(field.type) for field in table.schema] == [
        "string",
        "list<element: list<element: int16>>",
    ]
    rows = table.to_pylist()
    assert {row["audio"] for row in rows} == {str(songs / name) for name in NAMES}
    for row in rows:
        np.testing.assert_array_equal(row["tokens"], expected(Path(row["audio"])))
    facts = json.loads(table.schema.metadata[b"muqrt"])
    bundle = load_bundle(token_bundle)
    assert (facts["stages"], facts["codes"], facts["steps_per_second"]) == (8, 1024, 25)
    assert facts["artefact_sha256"] == bundle.artefact().digest


@pytest.mark.parametrize("name", ["tokens.npz", "tokens.parquet"])
def test_nothing_usable_leaves_the_older_file(
    muqrt: Command, token_bundle: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "bad.wav").write_text("not audio")
    (tmp_path / name).write_text("an older one")
    done = muqrt("tokens", tmp_path / "bad.wav", "-b", token_bundle, "-o", tmp_path / name)
    assert done.returncode == 3
    assert "1 of 1 files" in done.stderr
    assert (tmp_path / name).read_text() == "an older one"
    assert {path.name for path in tmp_path.iterdir()} == {"bad.wav", name}


def test_without_pyarrow_the_hint_says_what_to_install(
    muqrt: Command,
    token_bundle: Path,
    songs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = muqrt("tokens", songs, "-b", token_bundle, "-o", tmp_path / "x.parquet")
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install 'muqrt[parquet]'" in done.stderr
    assert not list(tmp_path.glob("*x*"))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "{}/out.npy"], 2, "one file for 3 audio files"),
        (["{}/songs/album", "-o", "{}/out.npz"], 2, "the same name"),
        (["-b", "{plain}"], 3, "--outputs embedding,tokens"),
        (["-b", "{plain}", "-o", "{}/out.npz"], 3, "--outputs embedding,tokens"),
    ],
)
def test_what_cannot_be_done(
    muqrt: Command,
    token_bundle: Path,
    tiny_bundle: Path,
    songs: Path,
    tmp_path: Path,
    options: list[str],
    code: int,
    message: str,
) -> None:
    filled = [each.format(tmp_path, plain=tiny_bundle) for each in options]
    bundle = ["-b", token_bundle] if code == 2 and options else []
    done = muqrt("tokens", songs, *bundle, *filled)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert not list(tmp_path.glob("out*"))
