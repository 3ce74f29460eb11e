"""Write files and folders whole or not at all, read them within limits, and hash them."""

import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import UsageError
from .interrupts import uninterrupted
from .lock import NoLocksError, locked, try_lock, unlock, unlock_all

DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_HASH_BLOCK_BYTES = 1 << 22
_PARTIAL_SUFFIX = ".muqrt-partial"
_NAME_COLUMNS = 50  # of a longer name: file systems allow 255 bytes
_RETIRED = ".muqrt-old"
# Without locks nothing else tells what is left over from what is being written.
_ABANDONED_SECONDS = 24 * 3600
_swept: set[Path] = set()
# With the folders that were made to hold them, the innermost first.
_being_written: dict[Path, list[Path]] = {}
_replacing = threading.Lock()


def disk_full_error(error: Exception, path: Path) -> OSError | None:
    """The OSError that a library's own error stands for, if the disk is full; it names ``path``."""
    found = re.search(r"os error (\d+)", str(error))
    if found is None or (code := int(found[1])) not in DISK_FULL:
        return None
    return OSError(code, os.strerror(code), str(path))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: Path, limit_bytes: int) -> str:
    """A UTF-8 file's text; also a pipe's, but no more than the limit is ever read.

    Raises:
        OSError: it cannot be read. ValueError: not UTF-8, or longer than the limit.
    """
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ValueError(f"longer than {limit_bytes / 1e6:.3g} MB")
    return data.decode("utf-8")


def cache_folder(chosen: Path | None = None) -> Path:
    """Folder for what can be computed again: the one chosen, $MUQRT_CACHE, or the user's cache."""
    if chosen is None and (named := os.environ.get("MUQRT_CACHE")):
        return Path(named)
    return chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muqrt"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path of the same name to write to; it replaces ``path`` when the block succeeds.

    When the block raises, what it wrote is removed and ``path`` is as it was.
    """
    with partial_folder(path) as folder:
        yield folder / path.name
        (folder / path.name).replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``path`` when the block succeeds.

    When the block raises, or ``path`` cannot be replaced, the temporary folder is removed and
    ``path`` is as it was. A folder that somebody has ``locked`` is replaced when they are done.
    """
    path = path.resolve()  # a link keeps pointing there
    with partial_folder(path) as folder, ExitStack() as held:
        temporary, retired = folder / path.name, folder / _RETIRED / path.name
        temporary.mkdir()
        yield temporary
        if is_replaced := path.exists():
            with suppress(UsageError):  # it may be replaced, but not written to
                held.enter_context(locked(path))
            retired.parent.mkdir()
        with uninterrupted(), _replacing:
            try:
                if is_replaced:
                    path.rename(retired)
                temporary.rename(path)
            except BaseException:
                _put_back(folder)
                raise


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``path`` for what is not complete yet, removed afterwards.

    What processes that were killed have left beside ``path`` is removed before, and folders that
    were made for nothing are afterwards. A full disk is an OSError that names ``path``.
    """
    folder, lock = _partial_name(path), None
    # Known before it is there: whenever a signal comes, ``clean_up`` finds it.
    _being_written[folder] = made = [each for each in path.parents if not each.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (parent := path.parent.resolve()) not in _swept:
            _swept.add(parent)
            remove_abandoned(parent)
        while lock is None:
            folder.mkdir()
            try:
                lock = try_lock(folder)
            except NoLocksError:
                break
            except FileNotFoundError:
                pass
            if lock is None:  # another process has swept it away before it was locked
                swept, folder = folder, _partial_name(path)
                _being_written[folder] = made
                del _being_written[swept]
        yield folder
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        if lock is not None:
            unlock(folder, lock)
        _remove_partial(folder)


def is_partial(file: Path) -> bool:
    """Whether a relative path is in a ``partial_folder``, which a killed process may have left."""
    return file.parts[0].endswith(_PARTIAL_SUFFIX)


def clean_up() -> None:
    """Let go of and remove what a signal has kept this process from completing; it ends now."""
    unlock_all()
    remove_partial_folders()


def remove_partial_folders() -> None:
    """Remove what this process has not completed, before it ends at once."""
    with _replacing:  # afterwards there is nothing to replace by
        for folder in list(_being_written):
            _remove_partial(folder)


def _remove_partial(folder: Path) -> None:
    try:
        _put_back(folder)
    except OSError:  # stays for the next process to try
        return
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # those that are used are not empty
        for each in _being_written.get(folder, []):
            each.rmdir()
    _being_written.pop(folder, None)


def _put_back(folder: Path) -> None:
    """Move an old folder back, if its process was stopped before the new one was in its place."""
    for retired in (folder / _RETIRED).glob("*"):
        if not (folder.parent / retired.name).exists():
            retired.rename(folder.parent / retired.name)


def _partial_name(path: Path) -> Path:
    name = path.name.removeprefix(".")[:_NAME_COLUMNS]
    return path.with_name(f".{name}-{uuid4().hex[:8]}{_PARTIAL_SUFFIX}")


def remove_abandoned(parent: Path) -> None:
    """Remove what processes that are no more have left half-written in a folder."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.endswith(_PARTIAL_SUFFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError, UsageError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    if folder.stat().st_uid != os.geteuid():
        return
    # Before anything changes there.
    newest = max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))
    try:
        lock = try_lock(folder)
        if lock is None:
            return
    except NoLocksError:
        lock = None
        if newest > time.time() - _ABANDONED_SECONDS:
            return
    _put_back(folder)
    # Under another name first: a process that has just made it, and waits for the lock, makes anew.
    abandoned = _partial_name(folder)
    folder.rename(abandoned)
    if lock is not None:
        unlock(abandoned, lock)
    shutil.rmtree(abandoned, ignore_errors=True)
