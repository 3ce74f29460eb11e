"""What is embedded, moved and removed while a library changes, with a clock that tests set."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")

from muqrt.errors import AudioError
from muqrt.runtime.search.index import Entry, open_index
from muqrt.runtime.search.result_folder import RECORD_FILE, ResultFolder
from muqrt.runtime.search.settling import Settling
from muqrt.runtime.search.update import Changes, Embeddings, size_and_time
from muqrt.runtime.search.watcher import Event, Watcher

SETTLE_SECONDS = 2.0
WIDTH = 3


class Library:
    """A folder of files that pass for music, watched; their embeddings are their first bytes."""

    def __init__(self, folder: Path, open_embeddings: Callable[[Path], Embeddings]) -> None:
        self.music, self.home = folder / "music", folder / "home"
        self.open = partial(open_embeddings, self.home)
        self.now_seconds = 0.0
        self.events: list[Event] = []
        self.heard: list[str] = []
        self.while_heard: Callable[[Path], object] = lambda path: None
        self.start()

    def start(self) -> None:
        """Begin as a new process does."""
        settling = Settling(SETTLE_SECONDS, lambda: self.now_seconds)
        self.watcher = Watcher(
            self.music, self.home, self.open, self.embed, settling, self.events.append
        )

    def write(self, name: str, content: str) -> Path:
        path = self.music / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def embed(self, paths: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray | AudioError]]:
        for path in paths:
            self.heard.append(path.name)
            content = path.read_bytes() if os.access(path, os.R_OK) else b"bad"
            self.while_heard(path)
            if content.startswith(b"bad"):
                yield path, AudioError(f"{path}: not audio")
            else:
                yield path, np.frombuffer(content[:WIDTH], np.uint8).astype(np.float32)

    def look(self, after_seconds: float = 0.0) -> list[Event]:
        """What one look does."""
        self.now_seconds += after_seconds
        self.events.clear()
        self.heard.clear()
        assert not self.watcher.look()
        return self.events

    def settle(self) -> list[Event]:
        """What is done once all has been seen, and has settled."""
        assert not self.look()
        return self.look(2 * SETTLE_SECONDS)

    def content(self) -> dict[str, str]:
        """The content that each file was embedded with."""
        found = self.open()
        return {
            str(name): found.embedding(name).astype(np.uint8).tobytes().decode()
            for name, entry in found.entries().items()
            if entry.error is None
        }


def wait_after(path: Path) -> None:
    """Wait until what is written is younger than a file: clocks of file systems have steps."""
    probe = path.parent / "probe"
    while not probe.exists() or probe.stat().st_mtime_ns <= path.stat().st_ctime_ns:
        probe.write_text("")
    probe.unlink()


def index(home: Path) -> Embeddings:
    return open_index(home, "a" * 64, WIDTH)


@pytest.fixture(params=[ResultFolder, index], ids=["folder", "index"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    library = Library(tmp_path, request.param)
    for name in ("a.mp3", "album/b.mp3", "album/c.mp3"):
        library.write(name, f"{Path(name).stem}00")
    assert {event.kind for event in library.settle()} == {"embedded"}
    assert library.content() == {"a.mp3": "a00", "album/b.mp3": "b00", "album/c.mp3": "c00"}
    assert not library.settle()
    return library


def test_a_file_is_taken_when_it_has_stopped_growing(library: Library) -> None:
    growing = library.write("d.mp3", "d")
    for _ in range(5):
        assert not library.look(SETTLE_SECONDS - 0.1)
        growing.write_text(growing.read_text() + "0")
    assert not library.look(SETTLE_SECONDS)
    assert library.watcher.settling.wait_seconds == SETTLE_SECONDS
    assert library.look(SETTLE_SECONDS) == [Event("embedded", Path("d.mp3"))]
    assert library.heard == ["d.mp3"]
    assert not library.look() and library.watcher.settling.wait_seconds is None


def test_a_file_whose_old_time_is_set_at_the_end_waits_again(library: Library) -> None:
    copied = library.write("d.mp3", "d00")
    assert not library.look()
    library.now_seconds += SETTLE_SECONDS
    os.utime(copied, (1e9, 1e9))  # as cp -p does
    assert not library.look()
    assert library.look(SETTLE_SECONDS) == [Event("embedded", Path("d.mp3"))]


def test_a_change_is_embedded_again_and_a_touch_is_not(library: Library) -> None:
    library.write("a.mp3", "A longer one")
    os.utime(library.music / "album/b.mp3", (1e9, 1e9))
    assert library.settle() == [Event("embedded", Path("a.mp3"))]
    assert library.heard == ["a.mp3"] and library.content()["a.mp3"] == "A l"
    assert not library.settle()


def test_a_move_is_followed(library: Library) -> None:
    (library.music / "album").rename(library.music / "other")
    (library.music / "a.mp3").replace(library.music / "other" / "c.mp3")
    assert sorted(library.settle()) == [
        Event("moved", Path("other/b.mp3"), "album/b.mp3"),
        Event("moved", Path("other/c.mp3"), "a.mp3"),
        Event("removed", Path("album/c.mp3")),
    ]
    assert not library.heard
    assert library.content() == {"other/b.mp3": "b00", "other/c.mp3": "a00"}


def test_moved_files_of_the_same_size_and_time(library: Library) -> None:
    library.write("album/copy.mp3", "b00")
    library.settle()
    for path in (library.music / "album").iterdir():
        os.utime(path, (1e9, 1e9))
    assert not library.settle()
    (library.music / "album").rename(library.music / "other")
    assert [event.kind for event in library.settle()] == ["moved"] * 3
    assert not library.heard
    assert library.content() == {
        "a.mp3": "a00",
        "other/b.mp3": "b00",
        "other/c.mp3": "c00",
        "other/copy.mp3": "b00",
    }


def test_another_file_of_the_same_size_and_time_is_no_move(library: Library) -> None:
    gone = library.music / "a.mp3"
    stamp = gone.stat().st_mtime_ns
    gone.unlink()
    os.utime(library.write("d.mp3", "d00"), ns=(stamp, stamp))
    assert sorted(library.settle()) == [
        Event("embedded", Path("d.mp3")),
        Event("removed", Path("a.mp3")),
    ]
    assert library.content()["d.mp3"] == "d00"


def test_what_is_gone_is_removed_with_its_folder(library: Library) -> None:
    for name in ("b", "c"):
        (library.music / f"album/{name}.mp3").unlink()
    assert {event.kind for event in library.settle()} == {"removed"}
    assert library.content() == {"a.mp3": "a00"}
    assert not (library.home / "album").exists()


def test_a_disk_that_is_not_mounted_takes_nothing_away(library: Library) -> None:
    library.write("d.mp3", "d00")
    library.look()
    assert library.watcher.settling.wait_seconds == SETTLE_SECONDS
    library.music.rename(library.music.with_name("elsewhere"))
    library.music.mkdir()
    assert not library.settle() and len(library.content()) == 3
    assert library.watcher.settling.wait_seconds is None


def test_a_folder_that_cannot_be_listed_keeps_its_results(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refusing(path: str | int) -> Iterator[os.DirEntry[str]]:
        if path == str(library.music / "album"):
            raise OSError(5, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    (library.music / "a.mp3").unlink()
    library.write("d.mp3", "d00")
    assert {event.kind for event in library.settle()} == {"removed", "embedded"}
    assert sorted(library.content()) == ["album/b.mp3", "album/c.mp3", "d.mp3"]


def test_a_file_that_changes_while_it_is_read_is_left_for_later(library: Library) -> None:
    library.write("d.mp3", "d00")
    library.while_heard = lambda path: path.write_text("D is longer")
    assert not library.settle() and library.heard == ["d.mp3"]
    assert "d.mp3" not in library.content()
    library.while_heard = lambda path: None
    assert library.settle() == [Event("embedded", Path("d.mp3"))]
    assert library.content()["d.mp3"] == "D i"


def test_a_file_that_changes_before_its_result_is_written_is_embedded_again(
    library: Library,
) -> None:
    changing = library.write("d.mp3", "d00")
    library.write("e.mp3", "e00")

    def change(heard: Path) -> None:
        if heard.name == "e.mp3":
            changing.write_text("D is longer")
            wait_after(changing)

    library.while_heard = change
    assert {event.name.name for event in library.settle()} == {"d.mp3", "e.mp3"}
    library.while_heard = lambda path: None
    assert library.settle() == [Event("embedded", Path("d.mp3"))]
    assert library.content()["d.mp3"] == "D i"


def test_a_file_that_goes_before_its_turn_has_not_failed(library: Library) -> None:
    library.write("d.mp3", "d00")
    going = library.write("e.mp3", "e00")
    library.while_heard = lambda path: going.unlink(missing_ok=True)
    assert library.settle() == [Event("embedded", Path("d.mp3"))]
    assert not library.settle()


def test_a_refused_file_waits_until_anything_of_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_text("secret")
    settling, name = Settling(1.0, lambda: 0.0), Path("a.mp3")
    changes = Changes([name], {}, [], {})
    settling.ready(changes, {name: path})
    settling.refuse(name)
    assert settling.wait_seconds is None
    settling.ready(changes, {name: path})
    assert settling.wait_seconds is None
    wait_after(path)
    path.chmod(0o600)
    settling.ready(changes, {name: path})
    assert settling.wait_seconds == 1.0


def test_a_file_that_cannot_be_used_is_tried_once_until_it_changes(library: Library) -> None:
    library.write("d.mp3", "bad")
    (library.music / "link.mp3").symlink_to("nowhere")
    assert [event.kind for event in library.settle()] == ["failed"]
    assert not library.settle() and not library.heard
    library.start()
    assert not library.settle() and not library.heard
    library.write("d.mp3", "good")
    assert library.settle() == [Event("embedded", Path("d.mp3"))]


def test_a_new_process_goes_on(library: Library) -> None:
    library.write("d.mp3", "d00")
    library.look()
    library.start()
    assert library.settle() == [Event("embedded", Path("d.mp3"))]
    assert library.heard == ["d.mp3"]


def test_killed_between_a_result_and_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path, ResultFolder)
    path = library.write("a.mp3", "a00")
    library.settle()
    restamp, calls = ResultFolder.restamp, list[int]()

    def killed(found: ResultFolder, entries: Mapping[Path, Entry]) -> None:
        if entries:
            calls.append(len(entries))
            if len(calls) == 2:
                raise KeyboardInterrupt
        restamp(found, entries)

    monkeypatch.setattr(ResultFolder, "restamp", killed)
    path.write_text("A longer one")
    library.look()
    wait_after(path)
    with pytest.raises(KeyboardInterrupt):
        library.look(SETTLE_SECONDS)
    assert np.load(library.home / "a.mp3.npy")[0] == ord("A")
    path.write_text("Before the end it has changed")
    library.start()
    assert library.settle() == [Event("embedded", Path("a.mp3"))]
    assert library.content() == {"a.mp3": "Bef"}


def test_results_without_a_record_are_kept_if_they_are_younger(tmp_path: Path) -> None:
    library = Library(tmp_path, ResultFolder)
    paths = [library.write(f"{name}.mp3", f"{name}00") for name in "ab"]
    library.settle()
    (library.home / RECORD_FILE).unlink()
    wait_after(library.home / "b.mp3.npy")
    paths[1].replace(library.music / "moved.mp3")
    (library.music / "moved.mp3").replace(paths[1])
    library.start()
    assert library.settle() == [Event("embedded", Path("b.mp3"))]
    assert library.heard == ["b.mp3"]
    (library.home / "a.mp3.npy").unlink()
    assert library.look() == [Event("embedded", Path("a.mp3"))]


def test_only_regular_files_have_a_size_and_a_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    assert size_and_time(tmp_path / "pipe.mp3") is None
    assert size_and_time(tmp_path / "nothing.mp3") is None
