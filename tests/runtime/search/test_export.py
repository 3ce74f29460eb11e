"""An index of a catalogue's export, and what an approximate search of it is worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb")

import pyarrow as pa
from pyarrow import parquet

from muqrt.errors import UsageError
from muqrt.runtime.search import approximate
from muqrt.runtime.search.export import export_index
from muqrt.runtime.search.index import Entry, SearchIndex, open_index

WIDTH = 16
MODEL = "a" * 64
CLIPS = {"window_seconds": 10.0, "overlap_seconds": 0.0, "last_clip": "wrapped"}


def vectors(rows: int) -> np.ndarray:
    """Around as many centres as there are rows by a hundred, as music lies around styles."""
    generator = np.random.default_rng(rows)
    centres = generator.standard_normal((1 + rows // 100, WIDTH))
    near = centres[generator.integers(len(centres), size=rows)]
    return (near + 0.5 * generator.standard_normal((rows, WIDTH))).astype(np.float32)


def write_export(
    path: Path, latents: np.ndarray, model: str = MODEL, column: str = "latents"
) -> Path:
    """As ``muqrt catalogue export`` writes it."""
    described = {"width": WIDTH, "windowing": CLIPS}
    recipe = {"artefact_sha256": model, "columns": {column: described}}
    rows = len(latents)
    columns: dict[str, Any] = {
        "key": pa.array([f"s3://music/雨夜/{number}.flac" for number in range(rows)]),
        "sha256": pa.array(["f" * 64] * rows),
        "size_bytes": pa.array([10] * rows, pa.int64()),
        "modified_ns": pa.array([None] * rows, pa.int64()),
        column: pa.FixedSizeListArray.from_arrays(pa.array(latents.ravel()), WIDTH),
    }
    table = pa.table(columns).replace_schema_metadata({b"muqrt": json.dumps({"recipe": recipe})})
    parquet.write_table(table, path)
    return path


def opened(export: Path) -> SearchIndex:
    return export_index(export, export.with_name("index"), MODEL, WIDTH, CLIPS)


def test_an_export_is_indexed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    latents = vectors(300)
    export = write_export(tmp_path / "music.parquet", latents)
    written: list[tuple[int, int]] = []
    place = tmp_path / "index"
    index = export_index(export, place, MODEL, WIDTH, CLIPS, lambda *rows: written.append(rows))
    assert written == [(300, 300)]
    query = latents[7]
    (own, cosine), (other, _) = index.nearest_names(query, 2)
    assert own == "s3://music/雨夜/7.flac".encode() and cosine == pytest.approx(1)
    assert index.nearest_names(query, 1, without=own) == [index.nearest_names(query, 2)[1]]
    assert index.embedding(other) is not None and index.embedding(b"s3://music/none") is None

    export_index(export, place, MODEL, WIDTH, CLIPS, lambda *rows: written.append(rows))
    assert len(written) == 1
    write_export(export, latents[:100])
    assert opened(export).count() == 100


def test_what_is_no_export_of_this_model(tmp_path: Path) -> None:
    latents = vectors(3)
    for path, model, column, message in (
        ("other.parquet", "b" * 64, "latents", "another model's"),
        ("features.parquet", MODEL, "embedding", "--outputs latents"),
    ):
        export = write_export(tmp_path / path, latents, model, column)
        with pytest.raises(UsageError, match=message):
            opened(export)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UsageError, match=r"text\.parquet: no Parquet file"):
        opened(tmp_path / "text.parquet")


def test_a_music_folders_index_is_not_replaced(tmp_path: Path) -> None:
    index = open_index(tmp_path / "index", MODEL, WIDTH, CLIPS)
    index.put({Path("a"): (Entry(1, 2, "e" * 64), vectors(1)[0])})
    with pytest.raises(UsageError, match="index of a folder of music"):
        opened(write_export(tmp_path / "music.parquet", vectors(3)))
    assert set(index.entries()) == {Path("a")}


@pytest.fixture(scope="module")
def approximated(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    export = write_export(tmp_path_factory.mktemp("music") / "music.parquet", vectors(2_000))
    index = opened(export)
    steps: list[str] = []
    index.approximate(steps.append)
    assert steps == ["building", "measuring"]
    return index


def test_the_recall_that_is_said_is_the_recall(approximated: SearchIndex, tmp_path: Path) -> None:
    said = approximated.approximation
    assert said is not None and said.probes and said.rows == 2_000
    assert approximate.LEAST_RECALL <= said.recall_at_10 <= 1
    places = np.random.default_rng(0).choice(2_000, said.queries, replace=False)
    found = []
    for query in vectors(2_000)[places]:
        exact = approximated.nearest_names(query, 11, exact=True)[1:]
        about = approximated.nearest_names(query, 11)[1:]
        found.append(len({*exact} & {*about}) / 10)
    assert np.mean(found) == pytest.approx(said.recall_at_10, abs=0.02)


def test_tracks_that_come_later_are_found(approximated: SearchIndex) -> None:
    late = -vectors(2_000)[0]
    approximated.put({Path("late"): (Entry(1, 2, "e" * 64), late)})
    assert approximated.nearest_names(late, 1)[0][0] == b"late"
    approximated.drop([Path("late")])
    assert approximated.nearest_names(late, 1)[0][0] != b"late"


def test_when_it_pays(approximated: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not approximated.is_slow()
    monkeypatch.setattr("muqrt.runtime.search.index.LEAST_APPROXIMATED_BYTES", 100_000)
    assert not approximated.is_slow()  # it was built
    monkeypatch.setattr(approximated, "approximation", None)
    assert approximated.is_slow()
    assert approximated.approximation_for(10) is None


def test_many_results_are_exact(approximated: SearchIndex) -> None:
    assert approximated.approximation_for(approximate.MOST_TOP) is not None
    assert approximated.approximation_for(approximate.MOST_TOP + 1) is None
    assert len(approximated.nearest_names(vectors(1)[0], 1_000)) == 1_000


def test_one_that_is_not_complete_is_not_used(approximated: SearchIndex) -> None:
    facts = approximated._folder / approximate.FACTS_FILE
    kept = facts.read_bytes()
    for text in (b"", b'{"probes": 4}'):
        facts.write_bytes(text)
        assert approximate.read_approximation(approximated._folder, approximated._table) is None
    facts.write_bytes(kept)
    assert approximate.read_approximation(approximated._folder, approximated._table) is not None
