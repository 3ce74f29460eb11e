"""``muqrt search``."""

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.console import Json, Table, note, progress, show
from ..common.lock import locked
from ..common.words import unlearned_line
from ..errors import BundleError, UsageError
from ..runtime.bundle.shipped import EXPORT_WORDS
from .audio.files import audio_files
from .damage import DamageOptions
from .memory import MaxMemory, size_bytes
from .options import (
    AUTO,
    ArtefactName,
    BatchSize,
    Nice,
    NoWindow,
    TextArtefactName,
    Threads,
    on_this_machine,
    thread_count,
)
from .outputs.searched import Found, add_matches, report
from .parameters import expand_options
from .place import Local

if TYPE_CHECKING:
    import numpy as np

    from ..runtime.search.index import SearchIndex
    from ..runtime.search.update import Outcome

_INDEX = ".muqrt-index"

commands = typer.Typer()


def _no_bundle() -> Path:
    raise UsageError(
        "search needs a MuQ-MuLan, which knows words; muq-mini, which comes with muqrt, does not. "
        f"Make a bundle with {EXPORT_WORDS} and name it with --bundle."
    )


@commands.command()
@expand_options
def search(
    *,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of music, searched with its subfolders; or what muqrt catalogue export "
            "wrote: a .parquet file or an index."
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            "--bundle",
            "-b",
            default_factory=_no_bundle,
            show_default=False,
            callback=on_this_machine,
            help="Bundle of a MuQ-MuLan.",
        ),
    ],
    words: Annotated[
        str | None, typer.Argument(help="Description of the music, in any language.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a description: an audio file to find more like, or the key of a "
            "catalogue's track.",
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Show at most this many files.")
    ] = 10,
    index: Annotated[
        Path | None,
        typer.Option(
            help=f"Folder of the index; by default {_INDEX} in the music folder, or "
            f"NAME.parquet{_INDEX} beside an export."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Compare with every track, also where an approximate index was built."
        ),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again the files that could not be read before.")
    ] = False,
    artefact: ArtefactName = None,
    text_artefact: TextArtefactName = None,
    threads: Threads = AUTO,
    nice: Nice = 0,
    max_memory: MaxMemory = None,
    batch_size: BatchSize = 1,
    damage: DamageOptions,
    window: NoWindow = None,
    as_json: Json = False,
) -> None:
    """Find music by a description or by an example.

    The folder's index is brought up to date first; without a description and --like that is all.
    An interrupted run continues where it stopped.
    """
    from ..runtime.bundle.manifest import load_bundle
    from ..runtime.inference.clips import ClippingConfig
    from ..runtime.inference.windows import refuse_window
    from ..runtime.memory.work import Work
    from ..runtime.model import Model
    from ..runtime.search.export import SUFFIX, export_index
    from ..runtime.search.index import open_index
    from ..runtime.search.table import is_index
    from ..runtime.search.update import embed_into, recheck, updating
    from .audio.progress import AudioProgress
    from .outputs.tasks import collect

    refuse_window(window, "latents")
    if words is not None and like is not None:
        raise UsageError("words and --like are two questions; ask one of them.")
    is_export = folder.suffix == SUFFIX and folder.is_file()
    if not folder.is_dir() and not is_export:
        raise UsageError(f"{folder}: no such folder.")
    most_bytes = size_bytes(max_memory)
    place = Local(bundle, artefact, thread_count(threads), most_bytes=most_bytes)
    described = load_bundle(bundle)
    chosen, joint = described.artefact(artefact), described.joint
    if joint is None:
        raise BundleError(f"{bundle}: not the bundle of a MuQ-MuLan, which search needs.")
    sought, unlearned = None, None
    if words is not None:
        sought = place.embed_texts([words], text_artefact)[0]
        unlearned = place.unlearned([words], text_artefact)
        if unlearned:
            note(unlearned_line(unlearned))
    clips = ClippingConfig(described.framing, joint.clip_samples)
    wanted = (chosen.digest, joint.width, clips.facts)
    if is_export or is_index(folder):
        if retry:
            raise UsageError(
                f"{folder}: no folder of music, whose files could be tried again; a catalogue's "
                "tracks are with: muqrt catalogue retry"
            )
        if is_export:
            home = index or folder.with_name(folder.name + _INDEX)
            with progress("Indexing", None) as bar:
                tracks = export_index(folder, home, *wanted, bar.move_to)
        else:
            home, tracks = folder, open_index(folder, *wanted)
        _search_tracks(folder, home, tracks, place, sought, unlearned, like, top, exact, as_json)
        return
    given = audio_files([folder])
    files = {name: path for path, name in given}
    home = index or folder / _INDEX
    same = None if like is None else _name_in(folder, Path(like))
    opened = partial(open_index, home, *wanted)
    with updating(home, opened, files, retry) as (library, changes):
        checked = recheck(library, files, changes)
        collect("Comparing", checked, len(changes.touched), lambda name: name.name)
        library.drop(changes.gone)
        outcomes: list[Outcome] = []
        if same in changes.known:
            sought = library.embedding(same)
        needs_embedding = like is not None and sought is None
        # Otherwise the audio model is not needed: the index is up to date.
        if changes.new or needs_embedding:
            fit = place.fitted(Work("latents"), batch_size)
            with place.open_session() as session:
                model = Model(
                    session,
                    batch_size=fit.batch_size,
                    tolerance=damage.damages.tolerance,
                    seconds_ahead=fit.seconds_ahead,
                )
                heard = AudioProgress([files[name] for name in changes.new], session.framing)
                embed = partial(model.embed_audio_files, on_window=heard.on_window)
                running = embed_into(library, files, changes.new, embed)
                # Closed at once, also when interrupted: it commits what it has.
                with closing(running):
                    outcomes = heard.collect(
                        "Embedding", running, lambda outcome: outcome.name.name
                    )
                if like is not None and needs_embedding:
                    sought = library.embedding(same) if same in changes.new else None
                    sought = model.embed_audio(Path(like)) if sought is None else sought
    if not exact:
        _approximate(home, library)
    found = None
    if sought is not None:
        nearest = library.nearest(sought, top, same, exact)
        matches = [(files.get(match.name, folder / match.name), match.cosine) for match in nearest]
        found = Found(matches, library.approximation_for(top, exact), unlearned)
    report(folder, given, changes, outcomes, found, damage.damages, as_json)


def _search_tracks(
    given: Path,
    home: Path,
    library: "SearchIndex",
    place: Local,
    sought: "np.ndarray | None",
    unlearned: "tuple[str, ...] | None",
    like: str | None,
    top: int,
    exact: bool,
    as_json: bool,
) -> None:
    """Search among a catalogue's tracks, whose audio need not be here."""
    from ..runtime.model import Model

    same = None
    if like is not None and (sought := library.embedding(os.fsencode(like))) is not None:
        same = os.fsencode(like)
    elif like is not None:
        with place.open_session() as session:
            sought = Model(session).embed_audio(Path(like))
    if not exact:
        _approximate(home, library)
    tracks = library.count()
    facts: dict[str, Any] = {"index": {"files": tracks}}
    lines: list[str | Table] = [f"{given}: {tracks} tracks"]
    if sought is not None:
        nearest = library.nearest_names(sought, top, same, exact)
        matches = [(os.fsdecode(name), cosine) for name, cosine in nearest]
        add_matches(facts, lines, Found(matches, library.approximation_for(top, exact), unlearned))
    show(as_json, facts, *lines)


def _approximate(home: Path, library: "SearchIndex") -> None:
    """Build an approximate index where an exact search would take long."""
    if library.is_slow():
        with locked(home), progress("Building an approximate index", 2) as bar:
            library.approximate(bar.advance)


def _name_in(folder: Path, file: Path) -> Path | None:
    """A file's path relative to a folder; None if it lies elsewhere."""
    try:
        return file.resolve().relative_to(folder.resolve())
    except ValueError:
        return None
