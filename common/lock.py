"""One writer at a time in a folder, across processes and hosts.

The lock is the kernel's, on a file in the folder. The kernel lets go of it when its holder dies,
however that happens, and NFS and SMB pass it on to their server; a file with a process id in it,
which is all that a lock without the kernel can be, has to be judged by those who find it. The
library filelock takes the same lock, without its holder's name.
"""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UsageError
from .interrupts import uninterrupted

LOCK_FILE = ".muqrt-lock"
_POLL_SECONDS = 0.1
# Most holders are done before anybody has to be told.
_SILENT_SECONDS = 1.0
_HOLDER_LIMIT_BYTES = 4096
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_held: dict[int, Path] = {}


class NoLocksError(OSError):
    """The file system has no locks."""


@dataclass(frozen=True)
class Holder:
    """The process that has locked a folder."""

    command: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid} on {self.host}, since {self.since})"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only process that writes in a folder, which is made where it is missing.

    Waits for the process that has the lock, and says on stderr which one that is. A thread that has
    the lock must not ask for it again. Where the file system has no locks, a line on stderr says
    so.

    Raises:
        UsageError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _wait_for(folder)
    except NoLocksError:
        from .console import note

        note(f"{folder}: this file system has no locks; let no other process write there.")
        lock = None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be locked for writing ({error.strerror}).") from None
    try:
        yield
    finally:
        if lock is not None:
            unlock(folder, lock)


def try_lock(folder: Path) -> int | None:
    """Lock a folder if no other process has; returns what ``unlock`` takes, or None.

    Raises:
        NoLocksError: the file system has none. OSError: the folder cannot be written to.
    """
    with uninterrupted():
        return _try_lock(folder, folder / LOCK_FILE)


def _try_lock(folder: Path, path: Path) -> int | None:
    # No link is followed: the folder may be a stranger's, and the file is written to.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in _NO_LOCKS:
            with suppress(OSError):
                path.unlink()
            raise NoLocksError(error.errno, error.strerror) from None
        return None
    if not _is_at(lock, path):  # its last holder has removed it since it was opened
        os.close(lock)
        return _try_lock(folder, path)
    _held[lock] = folder
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(asdict(_this_process())).encode(), 0)
    return lock


def unlock(folder: Path, lock: int) -> None:
    """Let go of a folder; its lock's file is removed. Calling it twice is harmless."""
    with uninterrupted():
        if _held.pop(lock, None) is None:
            return
        with suppress(OSError):
            if _is_at(lock, folder / LOCK_FILE):
                (folder / LOCK_FILE).unlink()
        os.close(lock)


def unlock_all() -> None:
    """Let go of every folder that this process has locked: it is about to end."""
    for lock, folder in list(_held.items()):
        unlock(folder, lock)


def _wait_for(folder: Path) -> int:
    told_at = time.monotonic() + _SILENT_SECONDS
    with ExitStack() as shown:
        while (lock := try_lock(folder)) is None:
            if time.monotonic() >= told_at:
                told_at = float("inf")
                from .console import waiting  # takes longer to import than everything here

                shown.enter_context(waiting(f"{folder}: waiting for {_holder(folder)}"))
            time.sleep(_POLL_SECONDS)
    return lock


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.lstat())
    except OSError:
        return False


def _holder(folder: Path) -> Holder | str:
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            return Holder(**json.loads(file.read(_HOLDER_LIMIT_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return "another process"


def _this_process() -> Holder:
    """Without its arguments, which may be private."""
    program = Path(sys.argv[0]).name if sys.argv else "python"
    if program in ("muqrt", "__main__.py"):
        program = " ".join(["muqrt", *sys.argv[1:2]])
    return Holder(program, os.getpid(), os.uname().nodename, time.strftime("%Y-%m-%d %H:%M:%S"))
