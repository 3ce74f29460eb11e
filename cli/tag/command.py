"""``muqrt tag``: audio to tags, here or on a server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, progress, show
from ...errors import AudioError, MissingDependencyError, UsageError
from ..options import (
    ArtefactName,
    AudioPaths,
    BatchSize,
    Bulk,
    BundleFolder,
    ServedModel,
    ServerAddress,
    TextArtefactName,
    Threads,
    TimeoutSeconds,
    audio_files,
    open_session,
)
from .labels import (
    LABELS_SHOWN,
    Labels,
    LabelsCommand,
    LabelsFile,
    NoCache,
    Templates,
    chosen_labels,
    open_tagger,
)

if TYPE_CHECKING:
    from ...runtime.audio.tracks import AudioFile
    from ...runtime.bundle.tagging import Vocabulary
    from .report import Result

commands = typer.Typer()


@commands.command(cls=LabelsCommand)
def tag(
    audio: AudioPaths,
    bundle: BundleFolder = None,
    server: ServerAddress = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="From which probability a tag counts; its own by default."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show so many tags at most.")] = None,
    every_tag: Annotated[
        bool, typer.Option("--all", help="Show the tags below their thresholds too.")
    ] = False,
    hop_seconds: Annotated[
        float | None,
        typer.Option(min=0, max=600, help="From window to window; half a window by default."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write a table of the windows' tags, with --all of all scores.", metavar="FILE.csv"
        ),
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(help="Draw one track's tags over time.", metavar="FILE.png"),
    ] = None,
    labels: Labels = None,
    labels_file: LabelsFile = None,
    template: Templates = None,
    text_artefact: TextArtefactName = None,
    no_cache: NoCache = False,
    model: ServedModel = None,
    artefact: ArtefactName = None,
    threads: Threads = None,
    batch_size: BatchSize = 1,
    timeout_seconds: TimeoutSeconds = None,
    bulk: Bulk = False,
    as_json: Json = False,
) -> None:
    """Say what is heard in music, and where: by a head's tags, or in your own words (--labels)."""
    from ...runtime.bundle.tagging import Tagging
    from ...runtime.engines.session import require
    from ...runtime.model import Model
    from .report import Choice, document, lines, write_csv

    files = [path for path, _ in audio_files(audio)]
    _check_outputs(csv, chart, len(files))
    label_set = chosen_labels(labels, labels_file, template)
    if label_set is not None:
        if hop_seconds is not None:
            raise UsageError("--hop-seconds is for a head's tags; labels are for clip after clip.")
        top = top or (None if every_tag else LABELS_SHOWN)
    choice = Choice(threshold, top, every_tag)
    place = (bundle, server, model, artefact, threads, timeout_seconds, bulk)
    vocabulary: Vocabulary
    tagged: Iterator[tuple[AudioFile, Result]]
    results: list[tuple[Path, Result]] = []
    with ExitStack() as stack:
        if label_set is None:
            session = stack.enter_context(open_session(*place))
            vocabulary = require(session, Tagging)
            tagged = Model(session, batch_size=batch_size).tag_files(files, hop_seconds)
        else:
            tagger = stack.enter_context(
                open_tagger(label_set, *place, text_artefact, no_cache, batch_size)
            )
            vocabulary, tagged = tagger.zero_shot, tagger.tag_files(files)
        with progress("Tagging", len(files)) as bar:
            for path, result in tagged:
                results.append((Path(path), result))
                bar.advance(results[-1][0].name)
    written = []
    if csv is not None:
        write_csv(csv, results, choice)
        written.append(csv)
    track = results[0][1]
    if chart is not None and not isinstance(track, AudioError):
        from .chart import draw

        draw(files[0].name, track, choice, chart)
        written.append(chart)
    show(
        as_json,
        document(vocabulary, results, choice) if as_json else None,
        *(line for path, result in results for line in lines(path, result, choice)),
        *(f"Wrote {path}" for path in written),
    )
    failed = sum(isinstance(result, AudioError) for _, result in results)
    if failed:
        raise AudioError(f"{failed} of {len(files)} files could not be used (see above).")


def _check_outputs(csv: Path | None, chart: Path | None, tracks: int) -> None:
    """Raise UsageError or MissingDependencyError for what could not be written in the end."""
    for path in (csv, chart):
        if path is not None and path.is_dir():
            raise UsageError(f"{path}: a folder is in the way; name a file.")
    if chart is None:
        return
    if tracks != 1:
        raise UsageError(f"--chart is for one track, not for {tracks}; name one file.")
    if chart.suffix.lower() != ".png":
        raise UsageError(f"{chart}: the chart is a PNG; name it {chart.with_suffix('.png')}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "matplotlib is needed for --chart. Run: pip install 'muqrt[bench]'"
        ) from None
