"""``muqrt score``."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ...common.console import Json, show
from ...errors import AudioError
from ..audio.files import audio_files
from ..damage import DamageOptions
from ..options import AudioPaths, NoWindow, WhereForFiles
from ..parameters import expand_options

if TYPE_CHECKING:
    from ...runtime.bundle.scoring import TrackScores

commands = typer.Typer()


@commands.command()
@expand_options
def score(
    audio: AudioPaths,
    where: WhereForFiles,
    *,
    damage: DamageOptions,
    window: NoWindow = None,
    as_json: Json = False,
) -> None:
    """Score audio with a head that was trained elsewhere.

    The bundle needs muqrt export --head FILE. The model runs on this machine (--bundle) or on a
    Triton server (--server).
    """
    from ...runtime.bundle.scoring import Scoring
    from ...runtime.engines.session import require_output
    from ...runtime.inference.windows import refuse_window
    from ...runtime.memory.work import Work
    from ...runtime.model import Model
    from ..audio.progress import AudioProgress
    from ..outputs.tasks import refuse_failures

    refuse_window(window, "scores")
    given = audio_files(audio)
    files = [path for path, _ in given]
    fit = where.place.fitted(Work("scores"), where.batch_size)
    with where.open_session(len(files)) as session:
        scoring = require_output(session, Scoring)
        tolerance = damage.damages.tolerance
        model = Model(
            session,
            batch_size=fit.batch_size,
            tolerance=tolerance,
            seconds_ahead=fit.seconds_ahead,
        )
        heard = AudioProgress(files, session.framing)
        results = heard.collect(
            "Scoring",
            ((Path(path), result) for path, result in model.score_files(files, heard.on_window)),
            lambda item: item[0].name,
        )
    facts = {
        "model": where.place.model_name,
        **scoring.model_dump(),
        "results": [_facts(path, each) | damage.damages.facts(path) for path, each in results],
        "skipped": [str(path) for path in given.skipped],
    }
    lines = (
        line for path, each in results for line in (*damage.damages.lines(path), _line(path, each))
    )
    show(as_json, facts, *lines, where.place.credit)
    refuse_failures(sum(isinstance(each, AudioError) for _, each in results), len(files))


def _facts(path: Path, found: "TrackScores | AudioError") -> dict[str, Any]:
    if isinstance(found, AudioError):
        return {"audio": str(path), "error": str(found)}
    windows = zip(pairwise(found.edges_seconds.tolist()), found.window_scores.tolist(), strict=True)
    return {
        "audio": str(path),
        "scores": found.by_label(),
        "windows": [
            {"start_seconds": start, "end_seconds": end, "scores": scores}
            for (start, end), scores in windows
        ],
    }


def _line(path: Path, found: "TrackScores | AudioError") -> str:
    if isinstance(found, AudioError):
        return f"FAILED {found}"
    return f"{path}: {', '.join(f'{name} {value:.4g}' for name, value in found.by_label().items())}"
