"""Files on this machine, in S3, in Google's storage or on a web server, through fsspec.

What a storage refuses for the moment is tried again with growing pauses; what is not there, or not
allowed, is not.
"""

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ..common.environment import import_extra
from ..common.files import DISK_FULL, atomic_file, partial_folder
from ..common.retry import Backoff, Retry
from ..errors import MissingDependencyError, MuqrtError, StorageError, UsageError

# Together about half a minute.
BACKOFF = Backoff(first_seconds=0.5, longest_seconds=16)
MOST_RETRIES = 6

_PERMANENT = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    TypeError,
    ValueError,
)
_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429
_LOCAL_SCHEMES = ("file", "local")
_Value = TypeVar("_Value")


class _TransientError(Exception):
    """Carries, as its cause, what may not happen again."""


def is_remote(address: str) -> bool:
    """Whether an address is not a path on this machine."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme not in _LOCAL_SCHEMES


def absolute(address: str | os.PathLike[str]) -> str:
    """A remote address as it is; a path on this machine absolute, and without ``file://``."""
    text = os.fspath(address)
    if is_remote(text):
        return text
    scheme, separator, path = text.partition("://")
    return str(Path(path if separator and scheme in _LOCAL_SCHEMES else text).absolute())


def file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the address's path in it.

    Raises:
        MissingDependencyError: the library for this kind of storage is not installed.
        UsageError: no such kind of storage.
    """
    fsspec = import_extra("catalogue", "fsspec")
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MissingDependencyError(
            f"{address}: {error}. Run: pip install 'muqrt[catalogue]'; for gs://, pip install gcsfs"
        ) from None
    except ValueError as error:
        raise UsageError(f"{address}: no storage that fsspec knows ({error}).") from None
    return found


def is_transient(error: Exception) -> bool:
    """Whether a storage may answer otherwise the next time."""
    status = getattr(error, "status", None)  # of aiohttp's and Google's errors
    if isinstance(status, int) and 400 <= status < 500:
        return status in (_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY)
    if isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EROFS):
        return False
    return not isinstance(error, _PERMANENT) and "Credentials" not in type(error).__name__


def retried(address: str, attempt: Callable[[], _Value]) -> _Value:
    """The attempt's result, tried again while the storage's errors are transient.

    Raises:
        StorageError: it never succeeded, or was refused. FileNotFoundError: there is nothing.
    """

    def tried() -> _Value:
        try:
            return attempt()
        except (FileNotFoundError, FileExistsError, MuqrtError):
            raise
        except Exception as error:
            if is_transient(error):
                raise _TransientError from error
            raise StorageError(f"{address}: {_reason(error)}.") from error

    retry = Retry(BACKOFF, most=MOST_RETRIES)
    try:
        return retry.call(tried, _TransientError)
    except _TransientError as error:
        cause = error.__cause__
        raise StorageError(
            f"{address}: {_reason(cause)}; tried {retry.failures + 1} times."
        ) from cause


def _reason(error: BaseException | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def store(path: Path, address: str) -> None:
    """Copy a file of this machine to a storage, in the place of another.

    Raises:
        StorageError: the storage refuses.
    """
    files, place = file_system(address)
    retried(address, lambda: files.put_file(str(path), place))


@dataclass(frozen=True)
class Folder:
    """A folder in any storage; ``address`` is absolute. May be pickled.

    Its methods raise StorageError when the storage refuses, and FileNotFoundError for a file that
    is not there.
    """

    address: str

    @classmethod
    def at(cls, address: str | os.PathLike[str]) -> "Folder":
        """The folder that a user names."""
        text = absolute(address)
        return cls(text.rstrip("/") if is_remote(text) else text)

    @property
    def _local(self) -> Path | None:
        return None if is_remote(self.address) else Path(self.address)

    def file(self, name: str) -> str:
        """The address of a file in it."""
        return f"{self.address}/{name}"

    def names(self, folder: str) -> dict[str, float]:
        """The files in a sub-folder, which need not be there, with the seconds since 1970 at which
        each was written."""
        if self._local is not None:
            place = self._local / folder
            return retried(self.file(folder), lambda: _local_names(place))
        files, path = file_system(self.file(folder))

        def attempt() -> list[dict[str, Any]]:
            files.invalidate_cache()
            try:
                found: list[dict[str, Any]] = files.ls(path, detail=True)
            except FileNotFoundError:
                return []
            return found

        return {
            each["name"].rsplit("/", 1)[-1]: _written_seconds(each)
            for each in retried(self.file(folder), attempt)
            if each["type"] == "file"
        }

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        if self._local is not None:
            return retried(self.file(name), (self._local / name).is_file)
        files, path = file_system(self.file(name))

        def attempt() -> bool:
            files.invalidate_cache()
            try:
                return bool(files.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

        return retried(self.file(name), attempt)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        files, path = file_system(self.file(name))
        return retried(self.file(name), lambda: bytes(files.cat_file(path)))

    def open(self, name: str) -> BinaryIO:
        """A file to read from anywhere."""
        files, path = file_system(self.file(name))
        return retried(self.file(name), lambda: files.open(path, "rb"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, in the place of another."""
        if self._local is not None:
            local = self._local / name
            retried(self.file(name), lambda: _write_local(local, data))
            return
        files, path = file_system(self.file(name))
        retried(self.file(name), lambda: files.pipe_file(path, data))

    def write_new(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet.

        Raises:
            FileExistsError: it is.
        """
        if self._local is not None:
            local = self._local / name
            retried(self.file(name), lambda: _write_new_local(local, data))
            return
        files, place = file_system(self.file(name))
        retried(self.file(name), lambda: files.pipe_file(place, data, mode="create"))

    def mark(self, name: str) -> None:
        """Write an empty file."""
        if self._local is not None:
            local = self._local / name
            retried(self.file(name), lambda: _mark_local(local))
            return
        files, place = file_system(self.file(name))
        retried(self.file(name), lambda: files.pipe_file(place, b""))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are no error."""
        addresses = [self.file(name) for name in names]
        if self._local is not None:
            for each in addresses:
                retried(each, partial(Path(each).unlink, missing_ok=True))
            for folder in {Path(each).parent for each in addresses}:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        elif addresses:
            files, _ = file_system(self.address)
            paths = [files._strip_protocol(each) for each in addresses]
            with suppress(FileNotFoundError):
                retried(self.address, lambda: files.rm(paths))


def _local_names(folder: Path) -> dict[str, float]:
    try:
        with os.scandir(folder) as entries:
            return {each.name: each.stat().st_mtime for each in entries if each.is_file()}
    except FileNotFoundError:
        return {}


def _write_local(path: Path, data: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def _write_new_local(path: Path, data: bytes) -> None:
    with partial_folder(path) as folder:
        (folder / "new").write_bytes(data)
        os.link(folder / "new", path)


def _mark_local(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _written_seconds(facts: dict[str, Any]) -> float:
    """When a file was written, as fsspec's listings have it; 0 where they do not."""
    found = facts.get("LastModified") or facts.get("updated") or facts.get("mtime") or 0.0
    if isinstance(found, str):
        found = datetime.fromisoformat(found.replace("Z", "+00:00"))
    return found.timestamp() if isinstance(found, datetime) else float(found)
