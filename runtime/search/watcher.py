"""Keep a library's embeddings up to date while it changes."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..audio.folder import scan_folder
from ..inference.batching import batches
from .index import Entry
from .result_folder import ResultFolder
from .settling import Settling
from .update import (
    CHANGED,
    Changes,
    Embeddings,
    EmbedFiles,
    Sink,
    embed_into,
    file_entry,
    recheck,
    size_and_time,
    updating,
)

# After that it looks again for what is moved, changed or gone.
_LOOK_AGAIN_SECONDS = 30.0
_MOVED_AT_ONCE = 500


class Event(NamedTuple):
    """What became of a file.

    Attributes:
        kind: "embedded", "moved" and "removed" are committed.
        name: the file, relative to the library.
        detail: of a failed file the reason, of a moved one where it was.
    """

    kind: Literal["embedded", "failed", "moved", "removed"]
    name: Path
    detail: str = ""


@dataclass
class Watcher:
    """A folder of music and its embeddings.

    Attributes:
        music: the folder.
        home: where the embeddings are, which is locked while they are written.
        open_embeddings: opens them.
        embed_files: embeds audio files.
        settling: decides when a change is complete.
        on_event: called with what has been done.
        scan_seconds: how long the last look through the folder took.
    """

    music: Path
    home: Path
    open_embeddings: Callable[[], Embeddings]
    embed_files: EmbedFiles
    settling: Settling
    on_event: Callable[[Event], None]
    scan_seconds: float = 0.0

    def look(self) -> bool:
        """Bring the embeddings up to date with what has settled, for about half a minute.

        A folder without any music leaves them alone, because it may be a disk that is not mounted;
        so does a folder that cannot be listed what it held.

        Returns:
            Whether there is more to do at once.
        """
        began_seconds = time.monotonic()
        contents = scan_folder(self.music)
        files = {path.relative_to(self.music): path for path in contents.audio}
        self.scan_seconds = time.monotonic() - began_seconds
        if not files:
            self.settling.forget()
            return False
        hidden = [path.relative_to(self.music) for path in contents.unreadable]
        with updating(self.home, self.open_embeddings, files) as (found, every):
            every.gone[:] = [
                name for name in every.gone if not any(map(name.is_relative_to, hidden))
            ]
            changes = self.settling.ready(every, files)
            self._follow_moves(found, every, changes, files)
            for _ in recheck(found, files, changes):
                pass
            found.drop(changes.gone)
            for name in changes.gone:
                self.on_event(Event("removed", name))
            if isinstance(found, ResultFolder):
                adopted = found.adopted(changes.new, files)
                found.restamp(adopted)
                changes.new[:] = [name for name in changes.new if name not in adopted]
            return self._embed(found, files, changes)

    def _embed(self, found: Embeddings, files: Mapping[Path, Path], changes: Changes) -> bool:
        if not changes.new:
            return False
        stop = time.monotonic() + _LOOK_AGAIN_SECONDS
        reported = _Reported(found, self.on_event)
        # Closed at once, also when interrupted: it commits what it has.
        with closing(embed_into(reported, files, changes.new, self.embed_files)) as running:
            for name, error in running:
                if error is not None and size_and_time(files[name]) is None:
                    error = CHANGED  # it has just gone
                if error is not None and error != CHANGED:
                    self.settling.refuse(name)
                    self.on_event(Event("failed", name, error))
                if time.monotonic() > stop:
                    return name != changes.new[-1]
        return False

    def _follow_moves(
        self, found: Embeddings, every: Changes, changes: Changes, files: Mapping[Path, Path]
    ) -> None:
        """Give files at a new place the embeddings that they had at their old one."""
        entries = found.entries() if every.gone and changes.new else {}
        gone = defaultdict[tuple[int, int, str], list[Path]](list)
        for name in every.gone:
            if name in entries:
                gone[entries[name][:3]].append(name)
        stamps = {facts[:2] for facts in gone}
        moves = {}
        for name in changes.new:
            entry = file_entry(files[name]) if size_and_time(files[name]) in stamps else None
            if entry is not None and gone.get(entry[:3]):
                moves[name] = gone[entry[:3]].pop()
        for some in batches(moves, bool, _MOVED_AT_ONCE):
            put = {name: (entries[moves[name]], found.embedding(moves[name])) for name in some}
            known = {name: value for name, value in put.items() if value[1] is not None}
            left = {moves[name] for name in known}
            found.put(known)
            found.drop([*left])
            changes.new[:] = [name for name in changes.new if name not in known]
            changes.gone[:] = [name for name in changes.gone if name not in left]
            for name in known:
                self.on_event(Event("moved", name, str(moves[name])))


class _Reported:
    """Says what has been embedded, once it is committed."""

    def __init__(self, sink: Sink, on_event: Callable[[Event], None]) -> None:
        self._sink, self._on_event = sink, on_event

    def put(self, files: Mapping[Path, tuple[Entry, np.ndarray | None]]) -> None:
        self._sink.put(files)
        for name, (_, embedding) in files.items():
            if embedding is not None:
                self._on_event(Event("embedded", name))
