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
        self._folder, self._ignored, self._chosen_seconds = folder, ignored, poll_seconds
        self._turns: Iterator[object] = iter(())
        self._begin()

    def _begin(self) -> None:
        self.close()
        self._watched = _place(self._folder)
        self._poll_seconds = self._chosen_seconds
        if self._poll_seconds is None and is_network(self._folder):
            self._poll_seconds = POLL_SECONDS
        if self._poll_seconds is None:
            self._turns = _turns(self._folder, self._ignored)
            try:
                next(self._turns)  # watches from now on
            except (OSError, RuntimeError, ValueError) as error:
                note(f"{self._folder}: looked through every {POLL_SECONDS:g} s: {error}")
                self._poll_seconds = POLL_SECONDS

    def wait(self, least_seconds: float, most_seconds: float | None) -> None:
        """Wait for a change, at least so long, and no longer than ``most_seconds``."""
        usual_seconds = self._poll_seconds or _SURELY_SECONDS
        most_seconds = usual_seconds if most_seconds is None else min(most_seconds, usual_seconds)
        began, changed = time.monotonic(), False
        if self._poll_seconds is not None:
            time.sleep(max(least_seconds, most_seconds))
            return
        is_deaf = False
        try:
            for changes in self._turns:
                is_deaf = _place(self._folder) != self._watched
                changed = changed or is_deaf or bool(changes)
                due_seconds = least_seconds if changed else max(least_seconds, most_seconds)
                if time.monotonic() - began >= due_seconds:
                    break
        except RuntimeError:  # a changed file's name is no text, or there are too many folders
            is_deaf = True
            time.sleep(max(0.0, began + least_seconds - time.monotonic()))
        if is_deaf:
            self._begin()

    def close(self) -> None:
        """Watch no longer."""
        with suppress(AttributeError):
            self._turns.close()  # type: ignore[attr-defined]


def is_network(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether a folder or one below it is on a network share, as far as the system says (Linux
    only).
    """
    place = folder.resolve()
    found = _mounts(place, mounts)
    below = [kind for point, kind in found if point != place and point.is_relative_to(place)]
    # Of several mounts at one place the last is seen.
    above = [kind for point, kind in found if place.is_relative_to(point)]
    return not _NETWORK.isdisjoint([*above[-1:], *below])


def _mounts(place: Path, mounts: Path) -> list[tuple[Path, str]]:
    """What is mounted below a folder and above it, and its kind; the outermost first."""
    try:
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    found = []
    for line in text.rstrip("\n").split("\n"):
        before, _, after = line.partition(" - ")
        point = Path(_unescaped(before.split(" ")[4]))
        if place.is_relative_to(point) or point.is_relative_to(place):
            found.append((point, after.split(" ")[0]))
    return sorted(found, key=lambda mount: len(mount[0].parts))


def _place(folder: Path) -> object:
    """What differs when another folder, or another disk, has come to be in a folder's place."""
    with suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino, _mounts(folder.resolve(), MOUNTS)
    return None


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
    )
