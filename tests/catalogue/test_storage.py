"""Addresses and folders of storages, on this machine and on a web server."""

import errno
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from muqrt.errors import StorageError

pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

from muqrt.catalogue import loading, storage
from muqrt.catalogue.manifest import find_keys
from muqrt.catalogue.storage import Folder, absolute


def test_a_file_address_is_the_path(tmp_path: Path) -> None:
    track = tmp_path / "a b.flac"
    track.touch()
    (tmp_path / "list.csv").write_text(f"audio\nfile://{track}\n{track}\na b.flac\n")
    for source in (f"file://{tmp_path}", str(track), f"file://{tmp_path}/*.flac"):
        assert find_keys([source]).keys == [str(track)]
    listed = find_keys([f"file://{tmp_path}/list.csv"])
    assert (listed.keys, listed.repeated) == ([str(track)], 2)
    assert Folder.at(f"file://{tmp_path}/job") == Folder.at(tmp_path / "job")
    assert absolute("s3://bucket/a") == "s3://bucket/a"


OF_FOLDERS: dict[str, Callable[[Folder], object]] = {
    "names": lambda folder: folder.names("parts/a/b"),
    "write": lambda folder: folder.write("parts/a/b", b""),
    "write_new": lambda folder: folder.write_new("parts/a/b", b""),
    "mark": lambda folder: folder.mark("parts/a/b"),
    "read": lambda folder: folder.read("parts/a/b"),
    "remove": lambda folder: folder.remove(["parts/a/b"]),
}


@pytest.mark.parametrize("method", OF_FOLDERS)
def test_what_a_disk_refuses_is_a_storage_error(method: str, tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="parts"):
        OF_FOLDERS[method](Folder.at(tmp_path))


def test_a_disk_that_fails_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, scandir = [OSError(errno.EIO, "Input/output error")], os.scandir
    (tmp_path / "a").touch()

    def flaky(path: Path) -> object:
        if failures:
            raise failures.pop()
        return scandir(path)

    monkeypatch.setattr(storage.os, "scandir", flaky)
    monkeypatch.setattr("muqrt.common.retry.time.sleep", lambda seconds: None)
    assert list(Folder.at(tmp_path).names(".")) == ["a"]


class Endless(BaseHTTPRequestHandler):
    """Says no length, and sends for as long as it is listened to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            return

    def log_message(self, *words: object) -> None:
        """Be silent."""


@pytest.fixture
def endless() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.mp3"
        server.shutdown()


def test_a_file_without_an_end_is_refused(
    endless: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(loading, "LARGEST_FILE_BYTES", 1_000_000)
    with pytest.raises(StorageError, match="more than 0 GB"):
        loading.fetch(endless, tmp_path / "a.mp3")
    assert (tmp_path / "a.mp3").stat().st_size < 100_000_000
