"""Wait until something changes in a folder."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...common.closing import Closing
from ...common.console import note
from ...common.environment import import_extra

MOUNTS = Path("/proc/self/mountinfo")
# What changes on them elsewhere is not told here.
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "virtiofs", "vboxsf", "glusterfs"}
    | {"lustre", "davfs", "fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.davfs2", "fuse.s3fs"}
)
POLL_SECONDS = 30.0
# Should a notice ever be lost.
_SURELY_SECONDS = 3600.0
_STEP_MS, _TURN_MS = 200, 500


class Notices(Closing):
    """Tells when something has changed in a folder or below it.

    Args:
        folder: the folder.
        ignored: a folder whose changes are this process's own.
        poll_seconds: look this often, without the system's notices; when None only on a network
            share, which has none.

    Raises:
        MissingDependencyError: the library watchfiles is not installed.
    """

    def __init__(self, folder: Path, ignored: Path, poll_seconds: float | None = None) -> None:
        if poll_seconds is None and is_network(folder):
            poll_seconds = POLL_SECONDS
        self._poll_seconds = poll_seconds
        self._turns: Iterator[object] = iter(())
        if poll_seconds is None:
            self._turns = _turns(folder, ignored)
            try:
                next(self._turns)  # watches from now on
            except (OSError, RuntimeError) as error:
                note(f"{folder}: looked through every {POLL_SECONDS:g} s: {error}")
                self._poll_seconds = POLL_SECONDS

    def wait(self, least_seconds: float, most_seconds: float | None) -> None:
        """Wait for a change, at least so long, and no longer than ``most_seconds``."""
        usual_seconds = self._poll_seconds or _SURELY_SECONDS
        most_seconds = usual_seconds if most_seconds is None else min(most_seconds, usual_seconds)
        began, changed = time.monotonic(), False
        if self._poll_seconds is not None:
            time.sleep(max(least_seconds, most_seconds))
            return
        for changes in self._turns:
            changed = changed or bool(changes)
            waited_seconds = time.monotonic() - began
            if waited_seconds >= (least_seconds if changed else max(least_seconds, most_seconds)):
                return

    def close(self) -> None:
        """Watch no longer."""
        with suppress(AttributeError):
            self._turns.close()  # type: ignore[attr-defined]


def is_network(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether a folder is on a network share, as far as the system says (Linux only)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    place, kind = folder.resolve(), ""
    nearest = -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split()[4]))
        # Of several mounts at one place the last is seen.
        if place.is_relative_to(point) and len(point.parts) >= nearest:
            nearest, kind = len(point.parts), after.split()[0]
    return kind in _NETWORK


def _unescaped(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def _turns(folder: Path, ignored: Path) -> Iterator[object]:
    """Every half a second, or once a burst of changes has ended, what has changed."""
    watchfiles = import_extra("watch", "watchfiles")
    folder, own = folder.resolve(), str(ignored.resolve())
    if folder.is_relative_to(own):
        own = ""

    def is_foreign(change: object, path: str) -> bool:
        return not own or (path != own and not path.startswith(f"{own}/"))

    yield from watchfiles.watch(
        folder,
        watch_filter=is_foreign,
        step=_STEP_MS,
        rust_timeout=_TURN_MS,
        yield_on_timeout=True,
        force_polling=False,
        ignore_permission_denied=True,
    )
