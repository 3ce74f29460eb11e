"""A folder of labelled music: rendered by several processes, resumed where it was left."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ...common.documents import read_json
from ...common.files import atomic_file, remove_abandoned, sha256
from ...common.process.workers import end_with_parent, killed_when_stopped
from ...errors import UsageError
from .item import Item
from .studio.recipe import RECIPES, Recipe
from .synthesizer import Synthesizer

MANIFEST = "manifest.jsonl"
# What the audio files were made with; as long as it is there, they can be added to.
SETTINGS = "settings.json"
# A finished item's row, where the recipe keeps it.
_ROWS = "rows"
_QUIET_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"
# Grows whenever the same settings would sound different, or have other labels.
GENERATION = 1

_ITEMS_PER_TASK = 4
_synthesizer: Synthesizer | None = None  # of this process


@dataclass(frozen=True)
class Settings:
    """What a corpus follows from.

    Args:
        recipe: how items are made.
        seed: random seed.
        counts: of the items of each kind.
        song_seconds: about how long songs are.
        soundfonts: files; their order matters.
    """

    recipe: Recipe
    seed: int
    counts: dict[str, int]
    song_seconds: float
    soundfonts: tuple[Path, ...]

    def items(self) -> list[Item]:
        """All items, the songs first."""
        return self.recipe.items(self.seed, self.counts, self.song_seconds)

    def facts(self) -> dict[str, Any]:
        """What has to be the same for the audio files to be the same."""
        return {
            "generation": GENERATION,
            "seed": self.seed,
            "song_seconds": self.song_seconds,
            "soundfonts": [sha256(path) for path in self.soundfonts],
            **self.recipe.facts(),
        }


def synthesize_corpus(
    folder: Path,
    seed: int,
    counts: dict[str, int],
    song_seconds: float,
    soundfonts: Sequence[Path] = (),
    jobs: int = 1,
    on_step: Callable[[str], None] = lambda name: None,
    recipe: str = "general-midi",
) -> list[dict[str, Any]]:
    """Write a corpus's audio files, those that are not there yet, and its manifest.

    Args:
        folder: to write; absent, empty, or such a corpus, whole or not, of any size.
        seed: random seed.
        counts: of "song", "voice" and "note" items, and of the recipe's other kinds.
        song_seconds: about how long songs are.
        soundfonts: files; Debian's by default.
        jobs: processes; the result does not depend on it.
        on_step: called with the name of each finished item.
        recipe: a name in ``RECIPES``.

    Returns:
        The manifest's rows.

    Raises:
        UsageError: impossible counts, another folder's contents, other settings, a bad soundfont.
        MissingDependencyError: no FluidSynth or no soundfont.
    """
    if min(counts.values()) < 0 or not any(counts.values()):
        raise UsageError("A corpus needs at least one song, voice clip or note clip.")
    made = RECIPES[recipe]
    if others := [kind for kind, count in counts.items() if count and kind not in made.kinds]:
        raise UsageError(f"Recipe {recipe} makes no items of kind {others[0]}; leave them out.")
    settings = Settings(made, seed, counts, song_seconds, made.fonts(soundfonts))
    items = settings.items()
    # Here too, so that what is wrong with a soundfont is said before anything is written.
    _load(recipe, settings.soundfonts)
    _check_or_begin(folder, settings)
    rows = []
    for row in _rendered(items, folder, recipe, settings.soundfonts, jobs):
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
            there = dict(read_json(kept))
        except (OSError, ValueError, TypeError):
            there = {}
        names = facts.keys() | there.keys()
        different = sorted(name for name in names if there.get(name) != facts.get(name))
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
    items: Sequence[Item], folder: Path, recipe: str, soundfonts: Sequence[Path], jobs: int
) -> Iterator[dict[str, Any]]:
    """The rows of the items in their order, once their files are there."""
    keeps = repeat(RECIPES[recipe].keeps_rows)
    if jobs == 1:
        yield from map(_render, items, repeat(folder), keeps)
        return
    # When this process is killed, Python's tracker removes the pool's semaphores and warns of it.
    os.environ.setdefault("PYTHONWARNINGS", _QUIET_TRACKER)
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (recipe, soundfonts)) as pool:
        try:
            with killed_when_stopped(pool):
                # Ctrl-C reaches the whole group, but the workers, which inherit this mask, leave it
                # to the parent to say when to stop.
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    rows = pool.map(
                        _render, items, repeat(folder), keeps, chunksize=_ITEMS_PER_TASK
                    )
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                yield from rows
        except BaseException:
            for each in folder.iterdir():
                if each.is_dir():
                    remove_abandoned(each)
            raise


def _start_worker(recipe: str, soundfonts: Sequence[Path]) -> None:
    end_with_parent()
    _load(recipe, soundfonts)


def _load(recipe: str, soundfonts: Sequence[Path]) -> None:
    global _synthesizer
    _synthesizer = RECIPES[recipe].synthesizer(soundfonts)


def _kept_row(path: Path) -> dict[str, Any] | None:
    """A finished item's row; None if there is none that can be used."""
    try:
        row = read_json(path)
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("audio"), str) else None


def _render(item: Item, folder: Path, keeps_rows: bool) -> dict[str, Any]:
    assert _synthesizer is not None
    kept = folder / _ROWS / f"{item.name}.json"
    if keeps_rows and (row := _kept_row(kept)) and (folder / row["audio"]).is_file():
        return row
    plan = item.plan()
    path = folder / plan.audio
    if not path.is_file():
        with atomic_file(path) as temporary:
            temporary.write_bytes(plan.encoded(_synthesizer))
    if keeps_rows:
        with atomic_file(kept) as temporary:
            temporary.write_text(json.dumps(plan.row), encoding="utf-8")
    return plan.row
