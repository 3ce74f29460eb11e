"""Files and folders are replaced whole, or left as they were with nothing beside them."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from muqrt.common.files import atomic_file, atomic_folder, cache_folder, read_text, sha256


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    previous = os.umask(request.param)
    yield
    os.umask(previous)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_known_hash(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "abc") == known


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.npy"
    for content in ("a long first version", "short"):
        with atomic_file(path) as temporary:
            temporary.write_text(content)
            assert temporary.suffix == ".npy"
        assert path.read_text() == content
    assert names(path.parent) == ["a.npy"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "a.txt"
    if existed:
        path.write_text("old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert names(tmp_path) == (["a.txt"] if existed else [])
    assert not existed or path.read_text() == "old"


def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path, umask: None) -> None:
    (tmp_path / "other").touch()
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bundle"
    for name in ("first", "second"):
        with atomic_folder(path) as temporary:
            (temporary / name).touch()
        assert names(path) == [name]
    assert names(path.parent) == ["bundle"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_the_old_folder(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "bundle"
    if existed:
        path.mkdir()
        (path / "old").touch()
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "new").touch()
        raise error
    assert names(tmp_path) == (["bundle"] if existed else [])
    assert not existed or names(path) == ["old"]


@pytest.mark.parametrize("failing", [1, 2], ids=["old away", "new in"])
def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    rename, calls = Path.rename, []

    def busy(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError("Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(OSError, match="busy"), atomic_folder(path) as temporary:
        (temporary / "new").touch()
    assert names(tmp_path) == ["bundle"]
    assert names(path) == ["old"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "elsewhere") == ["new"]
    assert names(tmp_path) == ["elsewhere", "link"]


def test_a_new_folder_has_the_mode_of_any_other(tmp_path: Path, umask: None) -> None:
    (tmp_path / "other").mkdir()
    with atomic_folder(tmp_path / "bundle"):
        pass
    assert (tmp_path / "bundle").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_where_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/muqrt")
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("MUQRT_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("MUQRT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "muqrt"


WRITE = """
import sys, time
from pathlib import Path
from muqrt.common.files import atomic_file, atomic_folder
with atomic_folder(Path(sys.argv[1]) / "bundle") as folder, \\
        atomic_file(Path(sys.argv[1]) / "a.npy") as file:
    (folder / "muq.onnx").touch()
    file.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_goes_with_the_next_and_a_running_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".mine-0123abcd").mkdir()  # a user's, of a name that is like ours before
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()
        for is_running in (True, False):
            monkeypatch.setattr("muqrt.common.files._swept", set())
            with atomic_file(tmp_path / "b.txt") as temporary:
                temporary.touch()
            left = [name for name in names(tmp_path) if name.endswith(".muqrt-partial")]
            assert len(left) == (2 if is_running else 0)
            process.kill()
            process.wait()
    finally:
        process.kill()
        process.communicate()
    assert names(tmp_path) == [".mine-0123abcd", "b.txt"]


def test_an_old_folder_is_back_when_its_replacement_was_killed_half_way(tmp_path: Path) -> None:
    moved = tmp_path / ".bundle-0123abcd.muqrt-partial" / ".muqrt-old" / "bundle"
    moved.mkdir(parents=True)
    (moved / "bundle.json").touch()
    with atomic_file(tmp_path / "b.txt") as temporary:
        temporary.touch()
    assert names(tmp_path) == ["b.txt", "bundle"]
    assert names(tmp_path / "bundle") == ["bundle.json"]


@pytest.mark.parametrize("age_seconds", [0, 25 * 3600])
def test_without_locks_only_what_is_a_day_old_is_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age_seconds: int
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    left = tmp_path / ".bundle-0123abcd.muqrt-partial"
    left.mkdir()
    then = left.stat().st_mtime - age_seconds
    os.utime(left, (then, then))
    with atomic_file(tmp_path / "b.txt") as temporary:
        temporary.touch()
    assert left.exists() == (age_seconds == 0)


def test_a_full_disk_names_the_file_and_leaves_no_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "models" / "muq" / "config.pbtxt"
    with (
        pytest.raises(OSError, match="No space left") as raised,
        atomic_folder(path.parent) as folder,
        atomic_file(folder / path.name),
    ):
        # As shutil raises it when it copies, with the name of the source.
        raise OSError(errno.ENOSPC, "No space left on device", "bundle/muq.onnx")
    assert raised.value.filename == str(path.parent)
    assert names(tmp_path) == []


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("aé")
    assert read_text(tmp_path / "a", 3) == "aé"
    with pytest.raises(ValueError, match="longer than"):
        read_text(tmp_path / "a", 2)
    with pytest.raises(ValueError, match="longer than 1 MB"):
        read_text(Path("/dev/zero"), 1_000_000)
