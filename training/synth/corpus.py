"""A folder of labelled music: rendered by several processes, resumed where it was left."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from ...common.files import atomic_file, sha256
from ...errors import UsageError
from .item import KINDS, Item
from .synthesizer import Synthesizer, find_soundfonts

MANIFEST = "manifest.jsonl"
# What the audio files were made with; as long as it is there, they can be added to.
SETTINGS = "settings.json"
# Grows whenever the same settings would sound different, or have other labels.
GENERATION = 1

_ITEMS_PER_TASK = 4
_synthesizer: Synthesizer | None = None  # of this process


@dataclass(frozen=True)
class Settings:
    """What a corpus follows from.

    Args:
        seed: random seed.
        counts: of songs, voice clips and note clips.
        song_seconds: about how long songs are.
        soundfonts: files; their order matters.
    """

    seed: int
    counts: dict[str, int]
    song_seconds: float
    soundfonts: tuple[Path, ...]

    def items(self) -> list[Item]:
        """All items, the songs first."""
        return [
            Item(self.seed, kind, index, self.song_seconds)
            for kind in KINDS
            for index in range(self.counts[kind])
        ]

    def facts(self) -> dict[str, Any]:
        """What has to be the same for the audio files to be the same."""
        return {
            "generation": GENERATION,
            "seed": self.seed,
            "song_seconds": self.song_seconds,
            "soundfonts": [sha256(path) for path in self.soundfonts],
        }


def synthesize_corpus(
    folder: Path,
    seed: int,
    counts: dict[str, int],
    song_seconds: float,
    soundfonts: Sequence[Path] = (),
    jobs: int = 1,
    on_step: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """Write a corpus's audio files, those that are not there yet, and its manifest.

    Args:
        folder: to write; absent, empty, or such a corpus, whole or not, of any size.
        seed: random seed.
        counts: of "song", "voice" and "note" items.
        song_seconds: about how long songs are.
        soundfonts: files; Debian's by default.
        jobs: processes; the result does not depend on it.
        on_step: called with the name of each finished item.

    Returns:
        The manifest's rows.

    Raises:
        UsageError: impossible counts, another folder's contents, other settings, a bad soundfont.
        MissingDependencyError: no FluidSynth or no soundfont.
    """
    if min(counts.values()) < 0 or not any(counts.values()):
        raise UsageError("A corpus needs at least one song, voice clip or note clip.")
    settings = Settings(seed, counts, song_seconds, tuple(find_soundfonts(soundfonts)))
    # Here too, so that what is wrong with a soundfont is said before anything is written.
    _load(settings.soundfonts)
    _check_or_begin(folder, settings)
    items = settings.items()
    rows = []
    for row in _rendered(items, folder, settings.soundfonts, jobs):
        rows.append(row)
        on_step(row["song"])
    with atomic_file(folder / MANIFEST) as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def _check_or_begin(folder: Path, settings: Settings) -> None:
    """Raise UsageError unless the folder is empty, absent or this corpus's."""
    facts, kept = settings.facts(), folder / SETTINGS
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: not a folder.")
    if kept.is_file():
        try:
            there = dict(json.loads(kept.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            there = {}
        different = sorted(name for name in facts if there.get(name) != facts[name])
        if different:
            raise UsageError(
                f"{folder}: a corpus of another {', '.join(different)}; choose another folder."
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: holds something other than a corpus; choose another folder.")
    else:
        with atomic_file(kept) as path:
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _rendered(
    items: Sequence[Item], folder: Path, soundfonts: Sequence[Path], jobs: int
) -> Iterator[dict[str, Any]]:
    """The rows of the items in their order, once their files are there."""
    if jobs == 1:
        yield from map(_render, items, repeat(folder))
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (soundfonts,)) as pool:
        try:
            yield from pool.map(_render, items, repeat(folder), chunksize=_ITEMS_PER_TASK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(soundfonts: Sequence[Path]) -> None:
    # Ctrl-C reaches the whole group; the parent says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _load(soundfonts)


def _end_with_parent() -> None:
    """Without this, the workers of a killed parent wait for work forever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _load(soundfonts: Sequence[Path]) -> None:
    global _synthesizer
    _synthesizer = Synthesizer(soundfonts)


def _render(item: Item, folder: Path) -> dict[str, Any]:
    assert _synthesizer is not None
    plan = item.plan()
    path = folder / plan.audio
    if not path.is_file():
        with atomic_file(path) as temporary:
            temporary.write_bytes(plan.encoded(_synthesizer))
    return plan.row
