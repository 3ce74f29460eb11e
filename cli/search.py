"""``muqrt search``: the music in a folder that fits a sentence, or another piece of music."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.console import Json, progress, show, table
from ..common.files import cache_folder
from ..errors import BundleError, UsageError
from .options import ArtefactName, BatchSize, TextArtefactName, Threads, audio_files

if TYPE_CHECKING:
    from ..runtime.model import Model
    from ..runtime.search.index import SearchIndex
    from ..runtime.search.update import Changes, Files, Outcome

_INDEX = ".muqrt-index"

commands = typer.Typer()


@commands.command()
def search(
    folder: Annotated[Path, typer.Argument(help="The music: this folder and those below it.")],
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Of a MuQ-MuLan.")],
    words: Annotated[
        str | None, typer.Argument(help="What it should sound like, in any language.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Instead of words: a file that it should sound like.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Show so many files at most.")
    ] = 10,
    index: Annotated[
        Path | None,
        typer.Option(help=f"Folder of the index; {_INDEX} in the music's folder by default."),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try files again that could not be used before.")
    ] = False,
    artefact: ArtefactName = None,
    text_artefact: TextArtefactName = None,
    threads: Threads = None,
    batch_size: BatchSize = 1,
    as_json: Json = False,
) -> None:
    """Find music by words, or by what it should sound like.

    First the folder's index is brought up to date; without words and --like that is all. A run
    that was interrupted goes on where it was.
    """
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.load import load
    from ..runtime.search.index import open_index
    from ..runtime.search.update import find_changes
    from ..runtime.text.cache import TEXTS_FILE, embed_texts

    if words is not None and like is not None:
        raise UsageError("words and --like are two questions; ask one of them.")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    described = load_bundle(bundle)
    chosen, joint = described.artefact(artefact), described.joint
    if joint is None:
        raise BundleError(f"{bundle}: not of a MuQ-MuLan, which is what search needs.")
    sought = None
    if words is not None:
        cache = cache_folder() / TEXTS_FILE
        sought = embed_texts(bundle, [words], text_artefact, threads, cache)[0]
    files = {name: path for path, name in audio_files([folder])}
    library = open_index(index or folder / _INDEX, chosen.digest, joint.width)
    changes = find_changes(library, files, retry)
    _recheck(library, files, changes)
    library.drop(changes.gone)
    outcomes: list[Outcome] = []
    if changes.new or like is not None:
        # Only now: words and an index that is up to date need nobody who hears.
        with load(bundle, artefact, threads, batch_size=batch_size) as model:
            sought = sought if like is None else model.embed_audio(like)
            outcomes = _embed(model, library, files, changes.new)
    same = None if like is None else _name_in(folder, like)
    found = [] if sought is None else library.nearest(sought, top, same)
    matches = [(files.get(match.name, folder / match.name), match.cosine) for match in found]
    _report(folder, changes, outcomes, None if sought is None else matches, as_json)


def _recheck(library: "SearchIndex", files: "Files", changes: "Changes") -> None:
    from ..runtime.search.update import recheck

    with progress("Comparing", len(changes.touched)) as bar:
        for name in recheck(library, files, changes):
            bar.advance(name.name)


def _embed(
    model: "Model", library: "SearchIndex", files: "Files", new: Sequence[Path]
) -> "list[Outcome]":
    from ..runtime.search.update import embed_into

    outcomes = []
    running = embed_into(library, files, new, model.embed_audio_files)
    # Closed at once, also when interrupted: it commits what it has.
    with progress("Listening", len(new)) as bar, closing(running):
        for outcome in running:
            bar.advance(outcome.name.name)
            outcomes.append(outcome)
    return outcomes


def _name_in(folder: Path, file: Path) -> Path | None:
    """A file's path relative to a folder; None if it is not in there."""
    try:
        return file.resolve().relative_to(folder.resolve())
    except ValueError:
        return None


def _report(
    folder: Path,
    changes: "Changes",
    outcomes: "Sequence[Outcome]",
    matches: Sequence[tuple[Path, float]] | None,
    as_json: bool,
) -> None:
    """Show the index's state, and the matches where there was a question."""
    failures = {name: entry.error for name, entry in changes.known.items() if entry.error}
    new_failures = {name: error for name, error in outcomes if error}
    counts = {
        "files": len(changes.known) + len(outcomes),
        "new": len(outcomes),
        "gone": len(changes.gone),
        "unusable": len(failures) + len(new_failures),
    }
    failed = [
        {"audio": str(folder / name), "error": error}
        for name, error in {**failures, **new_failures}.items()
    ]
    facts: dict[str, Any] = {"index": counts, "failed": failed}
    lines: list[Any] = [f"FAILED {folder / name}: {error}" for name, error in new_failures.items()]
    lines.append(
        f"{folder}: {counts['files']} files, {counts['new']} of them new or changed, "
        f"{counts['gone']} gone, {counts['unusable']} that cannot be used"
    )
    if matches is not None:
        facts["results"] = [{"audio": str(path), "cosine": cosine} for path, cosine in matches]
        rows = [[path, f"{cosine:.3f}"] for path, cosine in matches]
        lines.append(table("", ["file", "cosine"], rows) if rows else "Nothing to be found.")
    show(as_json, facts, *lines)
