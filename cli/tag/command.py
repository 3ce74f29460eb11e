"""``muqrt tag``."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, note, show
from ...common.environment import import_extra
from ...common.words import unlearned_line
from ...errors import AudioError, BundleError, UsageError
from ..audio.files import audio_files
from ..damage import DamageOptions
from ..options import AudioPaths, NoWindow, Threshold, Top, WhereForFiles
from ..parameters import expand_options
from .labels import LABELS_SHOWN, LabelOptions, LabelsCommand

if TYPE_CHECKING:
    from ...runtime.audio.tracks import AudioFile
    from ...runtime.bundle.tagging import Vocabulary
    from ...runtime.documents import Result

_LABELS_NEEDED = (
    "this is a MuQ-MuLan without a tag head: name what to tag with, for example "
    '--labels "jazz piano" "heavy metal". For a head: muqrt export CHECKPOINT --head HEAD -o BUNDLE'
)

commands = typer.Typer()


@commands.command(cls=LabelsCommand)
@expand_options
def tag(
    audio: AudioPaths,
    where: WhereForFiles,
    *,
    threshold: Threshold = None,
    top: Top = None,
    every_tag: Annotated[
        bool, typer.Option("--all", help="Also show the tags below their thresholds.")
    ] = False,
    hop_seconds: Annotated[
        float | None,
        typer.Option(
            min=0, max=600, help="Seconds between windows; half a window's length by default."
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write a CSV table of each window's tags; with --all, of every score.",
            metavar="FILE.csv",
        ),
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(help="Draw the tags of one track over time.", metavar="FILE.png"),
    ] = None,
    label_options: LabelOptions,
    damage: DamageOptions,
    window: NoWindow = None,
    as_json: Json = False,
) -> None:
    """Tag audio with a head's tags or with your own labels.

    The model runs on this machine (--bundle) or on a Triton server (--server).
    """
    from ...runtime.bundle.tagging import Tagging
    from ...runtime.documents import Choice, tags_document
    from ...runtime.engines.session import require_output
    from ...runtime.inference.windows import refuse_window
    from ...runtime.memory.work import Work
    from ...runtime.model import Model
    from ..audio.progress import AudioProgress
    from ..outputs.tasks import refuse_failures
    from .report import lines, write_csv

    refuse_window(window, "tags")
    place = where.place
    given = audio_files(audio)
    files = [path for path, _ in given]
    _check_outputs(csv, chart, len(files))
    labels = label_options.label_set()
    if labels is not None:
        if hop_seconds is not None:
            raise UsageError("--hop-seconds is for a head's tags; labels are for clip after clip.")
        top = top or (None if every_tag else LABELS_SHOWN)
    tolerance = damage.damages.tolerance
    choice = Choice(threshold, top, every_tag)
    vocabulary: Vocabulary
    tagged: Iterator[tuple[AudioFile, Result]]
    with ExitStack() as stack:
        if labels is None:
            fit = place.fitted(Work("tags", hop_seconds=hop_seconds), where.batch_size)
            session = stack.enter_context(where.open_session(len(files)))
            if session.meaning(Tagging) is None and session.joint is not None:
                raise BundleError(_LABELS_NEEDED)
            vocabulary = require_output(session, Tagging)
            model = Model(
                session,
                batch_size=fit.batch_size,
                tolerance=tolerance,
                seconds_ahead=fit.seconds_ahead,
            )
            heard = AudioProgress(files, session.framing)
            tagged = model.tag_files(files, hop_seconds, heard.on_window)
        else:
            text = (label_options.text_artefact, label_options.no_cache)
            tagger = stack.enter_context(
                place.open_label_tagger(labels, *text, where.batch_size, tolerance)
            )
            heard = AudioProgress(files, tagger.framing)
            tagged = tagger.tag_files(files, heard.on_window)
        results: list[tuple[Path, Result]] = heard.collect(
            "Tagging",
            ((Path(path), result) for path, result in tagged),
            lambda item: item[0].name,
        )
        if labels is not None:
            vocabulary = tagger.zero_shot  # a server says only now what its model learned
            if vocabulary.unlearned:
                note(unlearned_line(vocabulary.unlearned))
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
        {
            "model": place.model_name,
            **tags_document(vocabulary, results, choice, damage.damages, given.skipped),
        }
        if as_json
        else None,
        *(
            line
            for path, result in results
            for line in (*damage.damages.lines(path), *lines(path, result, choice))
        ),
        *(f"Wrote {path}" for path in written),
        place.credit,
    )
    refuse_failures(sum(isinstance(result, AudioError) for _, result in results), len(files))


def _check_outputs(csv: Path | None, chart: Path | None, tracks: int) -> None:
    """Raise UsageError or MissingDependencyError if the outputs could not be written later."""
    for path in (csv, chart):
        if path is not None and path.is_dir():
            raise UsageError(f"{path}: a folder is in the way; name a file.")
    if chart is None:
        return
    if tracks != 1:
        raise UsageError(f"--chart is for one track, not for {tracks}; name one file.")
    if chart.suffix.lower() != ".png":
        raise UsageError(f"{chart}: the chart is a PNG; name it {chart.with_suffix('.png')}.")
    import_extra("bench", "matplotlib")
