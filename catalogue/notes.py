"""Notes of which tracks have been begun, so that one that kills its process is found.

A note is an empty file, written before a track is touched; all of a partition's go when it is
done. Those that an attempt left behind name the tracks that it can have died of. The next one does
these first, each alone: the one that is alone when the process dies again is the cause. The results
of the others are kept, in notes too, so that the search for the cause computes none of them twice.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from ..errors import StorageError
from .job import NOTES
from .partition import Partition
from .storage import Folder

# Dying alone this often is no accident, such as a machine that was taken away.
DEATHS_ALONE = 2
_ALONE, _FINISHED, _KEPT = "a", "f", "k"
_NOTE = re.compile(r"(\d{4}-[0-9a-f]{8})-(\d{6})-(\d{6})([afk]?)")


@dataclass(frozen=True)
class History:
    """What earlier attempts at a partition tell.

    Attributes:
        attempts: how many there were.
        begun: the tracks, by their places in the partition, that were begun in any of them.
        suspects: the tracks that may have ended one, the likeliest first.
        dead: the tracks that did, with how often each was tried.
        kept: the notes with results, by tracks.
    """

    attempts: int
    begun: frozenset[int]
    suspects: list[int]
    dead: dict[int, int]
    kept: dict[int, str]


class Notes:
    """An attempt's notes.

    Args:
        folder: the job's.
        partition: the one that is attempted.
    """

    def __init__(self, folder: Folder, partition: Partition) -> None:
        self._folder, self._place = folder, f"{NOTES}/{partition.name}"
        self._before = list(folder.names(self._place))
        attempts = len({found[1] for found in map(_NOTE.fullmatch, self._before) if found})
        self._attempt = f"{attempts + 1:04}-{uuid4().hex[:8]}"
        self._written: list[str] = []

    def history(self, in_flight: int) -> History:
        """What the earlier attempts tell; each had so many tracks begun at once."""
        return history(self._before, in_flight)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What fails in the block, and is raised, is no death: nothing is left of the attempt."""
        try:
            yield
        except BaseException:
            with suppress(StorageError):
                self._remove(self._written)
            raise

    def begin(self, track: int, alone: bool = False) -> None:
        """Note, before it is touched, that the track at this place of the partition is begun."""
        self._write(track, _ALONE if alone else "")

    def keep(self, track: int, result: bytes) -> None:
        """Keep what came of a track that was begun alone, for the next attempt."""
        self._folder.write(f"{self._place}/{self._named(track, _KEPT)}", result)

    def read(self, note: str) -> bytes:
        """What an earlier attempt kept, by its name in the history."""
        return self._folder.read(f"{self._place}/{note}")

    def finished(self) -> None:
        """Note that no track is begun any more."""
        self._write(0, _FINISHED)

    def _write(self, track: int, kind: str) -> None:
        self._folder.mark(f"{self._place}/{self._named(track, kind)}")

    def _named(self, track: int, kind: str) -> str:
        self._written.append(f"{self._attempt}-{len(self._written):06}-{track:06}{kind}")
        return self._written[-1]

    def _remove(self, names: Iterable[str]) -> None:
        self._folder.remove(f"{self._place}/{name}" for name in names)

    def clear(self) -> None:
        """Remove every note of the partition: it is done."""
        self._remove([*self._before, *self._written])


def history(names: Iterable[str], in_flight: int) -> History:
    """What the names of notes tell; see ``Notes.history``."""
    by_attempt: dict[str, list[tuple[int, int, str]]] = {}
    kept: dict[int, str] = {}
    for found in filter(None, map(_NOTE.fullmatch, names)):
        note = (int(found[2]), int(found[3]), found[4])
        by_attempt.setdefault(found[1], []).append(note)
        if found[4] == _KEPT:
            kept[note[1]] = found[0]
    alone, together, tried = Counter[int](), set[int](), Counter[int]()
    for notes in by_attempt.values():
        begun = [(track, kind) for _, track, kind in sorted(notes) if kind in ("", _ALONE)]
        tried.update({track for track, _ in begun})
        if not begun or any(kind == _FINISHED for *_, kind in notes):
            continue
        # Threads begin them in order, but may note them in another.
        beside = sorted(track for track, kind in begun if kind != _ALONE)
        if beside:
            together.update(beside[-in_flight:])
        elif begun[-1][0] not in kept:
            alone[begun[-1][0]] += 1
    dead = {track: tried[track] for track, deaths in alone.items() if deaths >= DEATHS_ALONE}
    likely = [track for track, _ in alone.most_common()]
    suspects = [*likely, *(track for track in sorted(together) if track not in alone)]
    return History(
        len(by_attempt),
        frozenset(tried),
        [each for each in suspects if each not in dead and each not in kept],
        dead,
        kept,
    )
