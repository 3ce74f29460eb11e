"""The index against a loop over all embeddings, and an index that is not what it should be."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")

from muqrt.errors import MissingDependencyError, UsageError
from muqrt.runtime.search.index import Entry, SearchIndex, open_index
from muqrt.runtime.search.update import updating

WIDTH = 7
MODEL = "a" * 64
ENTRY = Entry(10, 20, "f" * 64)


@pytest.fixture
def index(tmp_path: Path) -> SearchIndex:
    return open_index(tmp_path / "index", MODEL, WIDTH)


def put(index: SearchIndex, embeddings: dict[Path, np.ndarray]) -> None:
    index.put({name: (ENTRY, embedding) for name, embedding in embeddings.items()})


def random_embeddings(*names: str) -> dict[Path, np.ndarray]:
    generator = np.random.default_rng(len(names))
    lengths = generator.uniform(0.2, 3, (len(names), 1))
    vectors = (generator.standard_normal((len(names), WIDTH)) * lengths).astype(np.float32)
    return dict(zip(map(Path, names), vectors, strict=True))


def test_the_nearest_against_a_loop(index: SearchIndex, tmp_path: Path) -> None:
    embeddings = random_embeddings(*(f"album {i % 7}/song {i}.mp3" for i in range(53)))
    put(index, embeddings)
    query = np.random.default_rng(0).standard_normal(WIDTH).astype(np.float32)
    cosines = {
        name: float(query @ vector / np.linalg.norm(query) / np.linalg.norm(vector))
        for name, vector in embeddings.items()
    }
    ranking = sorted(cosines, key=lambda name: -cosines[name])
    for opened in (index, open_index(tmp_path / "index", MODEL, WIDTH)):
        found = opened.nearest(query, 9)
        assert [match.name for match in found] == ranking[:9]
        np.testing.assert_allclose(
            [match.cosine for match in found], [cosines[name] for name in ranking[:9]], atol=1e-6
        )
    assert [match.name for match in index.nearest(query, 99)] == ranking
    assert [match.name for match in index.nearest(query, 2, ranking[0])] == ranking[1:3]


def test_files_that_change_fail_and_go(index: SearchIndex) -> None:
    embeddings = random_embeddings("a", "b", "c", "d")
    put(index, embeddings)
    failed = Entry(11, 21, "e" * 64, "not audio")
    index.put({Path("b"): (failed, None), Path("c"): (ENTRY, embeddings[Path("a")])})
    later = Entry(10, 99, "f" * 64)
    index.restamp({Path("a"): later, Path("gone meanwhile"): later})
    index.drop([Path("d"), Path("never there")])
    index.put({})
    assert index.entries() == {Path("a"): later, Path("b"): failed, Path("c"): ENTRY}
    found = index.nearest(embeddings[Path("a")], 9)
    assert {match.name for match in found} == {Path("a"), Path("c")}
    np.testing.assert_allclose([match.cosine for match in found], 1, atol=1e-6)


def test_any_name(index: SearchIndex) -> None:
    names = ["it's; DROP TABLE.mp3", "雨夜/萨克斯.flac", os.fsdecode(b"caf\xe9.ogg"), "a\nb"]
    embeddings = random_embeddings(*names)
    put(index, embeddings)
    put(index, embeddings)
    assert set(index.entries()) == set(embeddings)
    for name, embedding in embeddings.items():
        assert index.nearest(embedding, 1)[0].name == name
        assert index.nearest(embedding, 1, name)[0].name != name
    index.drop(list(embeddings))
    assert index.entries() == {}
    assert index.nearest(embeddings[Path(names[0])], 3) == []


def test_many_commits_leave_few_files(
    index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muqrt.runtime.search.index._MOST_SMALL_FILES", 4)
    embeddings = random_embeddings(*map(str, range(11)))
    for name, embedding in embeddings.items():
        put(index, {name: embedding})
    table = open_index(tmp_path / "index", MODEL, WIDTH)._table
    assert table.stats()["fragment_stats"]["num_fragments"] < 4
    assert set(index.entries()) == set(embeddings)


def test_two_that_write_at_once(index: SearchIndex, tmp_path: Path) -> None:
    other = open_index(tmp_path / "index", MODEL, WIDTH)
    embeddings = random_embeddings("a", "b", "c")
    a, b, c = ({name: embedding} for name, embedding in embeddings.items())
    put(index, a)
    put(other, a | b)
    put(index, b | c)
    assert set(open_index(tmp_path / "index", MODEL, WIDTH).entries()) == set(embeddings)


def test_doubles_are_dropped_but_for_the_newest(index: SearchIndex, tmp_path: Path) -> None:
    embeddings = random_embeddings("a", "b", "c")
    put(index, embeddings)
    # Two writers that each found nothing there.
    rows = index._table.to_arrow()
    index._table.add(rows.slice(0, 2))
    index._table.add(rows.slice(1, 2))
    folder = tmp_path / "index"
    with updating(folder, partial(open_index, folder, MODEL, WIDTH), {}) as (repaired, _):
        assert repaired.doubles() == []
    assert sorted(repaired._table.to_arrow()["path"].to_pylist()) == [b"a", b"b", b"c"]
    for name, embedding in embeddings.items():
        (match,) = repaired.nearest(embedding, 1)
        assert match.name == name and match.cosine == pytest.approx(1)


def test_another_models_index(index: SearchIndex, tmp_path: Path) -> None:
    for model, width in (("b" * 64, WIDTH), (MODEL, WIDTH + 1)):
        with pytest.raises(UsageError, match="index is another model's"):
            open_index(tmp_path / "index", model, width)


def test_an_index_has_one_length_of_windows(tmp_path: Path) -> None:
    clips = {"window_seconds": 10.0, "overlap_seconds": 0.0, "last_clip": "wrapped"}
    whole = {"window_seconds": "whole", "overlap_seconds": 0.0}
    # One that does not say is of clips: earlier versions had no other.
    open_index(tmp_path / "clips", MODEL, WIDTH)
    open_index(tmp_path / "whole", MODEL, WIDTH, whole)
    for folder, right, wrong in (
        ("clips", (None, clips), (whole,)),
        ("whole", (whole,), (None, clips, {**whole, "window_seconds": 30.0})),
    ):
        for windowing in right:
            open_index(tmp_path / folder, MODEL, WIDTH, windowing)
        for windowing in wrong:
            with pytest.raises(UsageError, match="or of other windows"):
                open_index(tmp_path / folder, MODEL, WIDTH, windowing)


def test_a_damaged_index(index: SearchIndex, tmp_path: Path) -> None:
    put(index, random_embeddings("a"))
    for file in (tmp_path / "index").rglob("*.lance"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UsageError, match="delete that folder") as raised:
        open_index(tmp_path / "index", MODEL, WIDTH).entries()
    assert str(tmp_path / "index") in str(raised.value)


def test_where_no_index_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be read or written"):
        open_index(tmp_path / "file", MODEL, WIDTH)


def test_without_lancedb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'muqrt\[search\]'"):
        open_index(tmp_path, MODEL, WIDTH)
