"""What is new, changed, touched, gone or unusable; and what an interruption leaves."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")

from muqrt.errors import AudioError
from muqrt.runtime.search.index import SearchIndex, open_index
from muqrt.runtime.search.update import embed_into, find_changes, recheck

WIDTH = 3


class Library:
    """A folder of files that pass for music, with its index.

    Their embeddings are their first bytes; a file that begins with "bad" cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[str] = []

    def write(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    @property
    def index(self) -> SearchIndex:
        return open_index(self.folder / "index", "a" * 64, WIDTH)

    @property
    def files(self) -> dict[Path, Path]:
        return {path.relative_to(self.folder): path for path in self.folder.rglob("*.mp3")}

    def embed(self, paths: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | AudioError]]:
        for path in paths:
            self.heard.append(path.name)
            content = path.read_bytes() if path.is_file() else b"bad"
            if content.startswith(b"bad"):
                yield path, AudioError(f"{path}: not audio")
            else:
                yield path, np.frombuffer(content[:WIDTH], np.uint8).astype(np.float32)

    def update(self, retry: bool = False) -> tuple[set[str], dict[str, str]]:
        """Which files were heard, and what was wrong with which."""
        self.heard = []
        index, files = self.index, self.files
        changes = find_changes(index, files, retry)
        list(recheck(index, files, changes))
        index.drop(changes.gone)
        done = list(embed_into(index, files, changes.new, self.embed))
        assert len(changes.known) + len(done) == len(files)
        return set(self.heard), {each.name.name: each.error for each in done if each.error}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "music")
    for name, content in {"a.mp3": "one", "b/c.mp3": "two", "d.mp3": "bad", "e.mp3": "six"}.items():
        library.write(name, content)
    return library


def test_only_what_changed_is_heard_again(library: Library) -> None:
    assert library.update() == ({"a.mp3", "c.mp3", "d.mp3", "e.mp3"}, {"d.mp3": "not audio"})
    assert library.update() == (set(), {})

    library.write("b/c.mp3", "2nd")  # of the same size
    os.utime(library.folder / "a.mp3", ns=(1, 1))
    os.utime(library.folder / "d.mp3", ns=(1, 1))
    (library.folder / "e.mp3").unlink()
    library.write("new.mp3", "seven")
    assert library.update() == ({"c.mp3", "new.mp3"}, {})
    entries = library.index.entries()
    assert set(entries) == set(library.files)
    assert entries[Path("a.mp3")].mtime_ns == entries[Path("d.mp3")].mtime_ns == 1
    assert entries[Path("d.mp3")].error == "not audio"
    query = np.frombuffer(b"2nd", np.uint8).astype(np.float32)
    found = {match.name.name: match.cosine for match in library.index.nearest(query, 9)}
    assert set(found) == {"a.mp3", "c.mp3", "new.mp3"}
    assert found["c.mp3"] == pytest.approx(1)
    assert library.update() == (set(), {})


def test_what_cannot_be_used_waits_until_it_changes_or_is_asked_for(library: Library) -> None:
    library.update()
    assert library.update(retry=True) == ({"d.mp3"}, {"d.mp3": "not audio"})
    library.write("d.mp3", "good now")
    assert library.update() == ({"d.mp3"}, {})
    assert library.update(retry=True) == (set(), {})


def test_what_cannot_be_read_is_tried_every_time(library: Library) -> None:
    (library.folder / "link.mp3").symlink_to("nowhere")
    library.update()
    assert Path("link.mp3") not in library.index.entries()
    assert library.update() == ({"link.mp3"}, {"link.mp3": "not audio"})


def test_a_run_that_stops_early_keeps_what_it_has(library: Library) -> None:
    def interrupted(paths: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | AudioError]]:
        for number, found in enumerate(library.embed(paths)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    index, files = library.index, library.files
    first = find_changes(index, files).new
    with pytest.raises(KeyboardInterrupt):
        list(embed_into(index, files, first, interrupted))
    assert set(library.index.entries()) == set(first[:2])

    index = library.index
    running = embed_into(index, files, find_changes(index, files).new, library.embed)
    next(running)
    running.close()
    left = find_changes(library.index, files).new
    assert left == first[3:]
    assert library.update()[0] == {left[0].name}


def test_work_is_committed_as_it_comes(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muqrt.runtime.search.update._COMMIT_SECONDS", 0.0)
    index, files = library.index, library.files
    new = find_changes(index, files).new
    # What a killed process would have left after each file.
    seen = [len(library.index.entries()) for _ in embed_into(index, files, new, library.embed)]
    assert seen == [1, 2, 3, 4]


def test_a_file_that_changes_while_it_is_heard_is_heard_again(library: Library) -> None:
    def rewritten(paths: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | AudioError]]:
        for path, result in library.embed(paths):
            path.write_text("something longer")
            yield path, result

    index, files = library.index, library.files
    list(embed_into(index, files, [Path("a.mp3")], rewritten))
    assert Path("a.mp3") in find_changes(index, files).new
