"""Wait until files have stopped changing: one that is being copied is not complete."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISREG

from .update import Changes

_Stamp = tuple[int, int, int] | None


class Settling:
    """Lets through changes of files that have been as they are for a while.

    A file is ready when its size and its times have stayed the same for so long; one that is gone,
    after twice that: if it was moved, it has appeared at its new place by then.

    Args:
        seconds: how long.
        clock: in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        # Each file that waits: what it was, and since when.
        self._seen: dict[Path, tuple[_Stamp, float]] = {}

    def ready(self, changes: Changes, files: Mapping[Path, Path]) -> Changes:
        """The changes that are ready; the others wait. ``known`` stays."""
        now = self._clock()
        stamps: dict[Path, _Stamp] = dict.fromkeys(changes.gone)
        for name in (*changes.new, *changes.touched):
            stamp = _stamp(files[name])
            if stamp is not None:  # else a broken link, a pipe, or just gone
                stamps[name] = stamp
        self._seen = {
            name: self._seen[name] if self._seen.get(name, (0,))[0] == stamp else (stamp, now)
            for name, stamp in stamps.items()
        }
        done = {name for name in self._seen if self._due(name) <= now}
        return Changes(
            [name for name in changes.new if name in done],
            {name: entry for name, entry in changes.touched.items() if name in done},
            [name for name in changes.gone if name in done],
            changes.known,
        )

    def refuse(self, name: Path) -> None:
        """Do not let a file through again until it changes."""
        if name in self._seen:
            self._seen[name] = (self._seen[name][0], math.inf)

    def forget(self) -> None:
        """Begin anew with every file."""
        self._seen = {}

    @property
    def wait_seconds(self) -> float | None:
        """How long it is until the next file is ready; None if none waits."""
        due = [self._due(name) for name in self._seen]
        soonest = min((each for each in due if each < math.inf), default=None)
        return None if soonest is None else max(0.0, soonest - self._clock())

    def _due(self, name: Path) -> float:
        stamp, since = self._seen[name]
        return since + self._seconds * (1 if stamp is not None else 2)


def _stamp(path: Path) -> _Stamp:
    """A regular file's size and times; one of them is that of a change of its permissions, too."""
    try:
        found = path.stat()
    except OSError:
        return None
    stamp = found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return stamp if S_ISREG(found.st_mode) else None
