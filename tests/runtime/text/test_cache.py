"""Embeddings of texts on disk: used again, never wrong, and never in the way."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from muqrt.errors import BundleError
from muqrt.runtime.load import load
from muqrt.runtime.text.cache import TextCache, embed_texts

WIDTH = 6
TEXTS = ["piano", "小提琴", "piano", "👩‍🎤"]


class Encoder:
    """Embeds, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        seeds = [list(text.encode("utf-8", "surrogatepass")) for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(WIDTH) for seed in seeds]
        return np.stack(rows).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "texts.sqlite"


def embed(path: Path, texts: Sequence[str], artefact: str = "a") -> tuple[np.ndarray, list[str]]:
    encoder = Encoder()
    return TextCache(path, artefact).embed(texts, encoder), encoder.asked


def test_only_what_is_new_is_computed(path: Path) -> None:
    expected = Encoder()(TEXTS)
    for asked in (["piano", "小提琴", "👩‍🎤"], []):
        found, by_now = embed(path, TEXTS)
        assert by_now == asked
        np.testing.assert_array_equal(found, expected)
    found, asked = embed(path, ["drums", *TEXTS])
    assert asked == ["drums"]
    np.testing.assert_array_equal(found[1:], expected)
    # Another artefact has other embeddings.
    assert embed(path, ["piano"], "b")[1] == ["piano"]


def test_more_texts_than_one_statement_takes(path: Path) -> None:
    texts = list(map(str, range(1_201)))
    found, _ = embed(path, texts)
    np.testing.assert_array_equal(found, Encoder()(texts))
    np.testing.assert_array_equal(embed(path, texts[::-1])[0], found[::-1])
    assert embed(path, texts)[1] == []


def test_a_changed_byte_is_computed_again(path: Path) -> None:
    expected, _ = embed(path, TEXTS)
    data = bytearray(path.read_bytes())
    at = data.find(expected[1].tobytes())
    assert at > 0
    data[at + 5] ^= 1
    path.write_bytes(data)
    found, asked = embed(path, TEXTS)
    assert asked == ["小提琴"]
    np.testing.assert_array_equal(found, expected)
    assert embed(path, TEXTS)[1] == []


@pytest.mark.parametrize("damage", ["text", "zeros", "cut", "another table", "empty"])
def test_a_damaged_file_is_made_again(path: Path, damage: str) -> None:
    expected, _ = embed(path, TEXTS)
    whole = path.read_bytes()
    if damage == "another table":
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE texts (key BLOB PRIMARY KEY)")
    else:
        damaged = {
            "text": b"Once upon a time. " * 999,
            "zeros": whole[:100] + bytes(len(whole) - 100),
            "cut": whole[: len(whole) // 2],
            "empty": b"",
        }
        path.write_bytes(damaged[damage])
    for _ in range(2):
        found, _ = embed(path, TEXTS)
        np.testing.assert_array_equal(found, expected)
    if damage != "another table":
        assert embed(path, TEXTS)[1] == []


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/proc/nowhere/texts.sqlite"), Path("/dev/null/texts.sqlite")):
        np.testing.assert_array_equal(embed(path, TEXTS)[0], Encoder()(TEXTS))
    assert not list(tmp_path.iterdir())


def test_those_used_longest_ago_go_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muqrt.runtime.text.cache._MOST_TEXTS", 3)
    clock = iter(range(99))
    monkeypatch.setattr("muqrt.runtime.text.cache._now", lambda: next(clock))
    for text in ("a", "b", "c", "a", "d"):
        embed(path, [text])
    assert embed(path, ["a", "c", "d"])[1] == []
    assert embed(path, ["b"])[1] == ["b"]


def test_the_tower_is_opened_only_for_what_is_new(
    mulan_bundle: Path, tiny_bundle: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, counts = ["jazz piano", "欢快的小提琴"], []
    found = embed_texts(mulan_bundle, texts, cache=path, on_texts=counts.append)
    assert sum(counts) == 2
    with load(mulan_bundle) as model:
        np.testing.assert_array_equal(found, model.embed_text(texts))
    np.testing.assert_array_equal(embed_texts(mulan_bundle, texts), found)
    with pytest.raises(BundleError, match="knows no texts"):
        embed_texts(tiny_bundle, texts, cache=path)
    monkeypatch.setattr("muqrt.runtime.text.cache.open_text_encoder", None)
    np.testing.assert_array_equal(embed_texts(mulan_bundle, texts[::-1], cache=path), found[::-1])
