"""``muqrt embed``."""

from typing import Annotated

import typer

from ..common.console import Json
from ..errors import UsageError
from .audio.files import audio_files
from .damage import DamageOptions
from .options import AudioToArrays
from .parameters import expand_options

Window = Annotated[
    str | None,
    typer.Option(
        metavar="whole|SECONDS",
        help="Length of the windows that tracks are cut into; whole: each track in one window, in "
        "memory that grows with its length. The bundle's by default.",
    ),
]

commands = typer.Typer()


@commands.command()
@expand_options
def embed(
    options: AudioToArrays,
    damage: DamageOptions,
    features: Annotated[
        bool,
        typer.Option(
            "--features", help="Write the features of every time step, (steps, width), unpooled."
        ),
    ] = False,
    overlap_seconds: Annotated[
        float | None,
        typer.Option(min=0, max=600, help="Overlap of neighbouring windows; 2 by default."),
    ] = None,
    window: Window = None,
    level: Annotated[
        str | None,
        typer.Option(
            metavar="N|N-N|mix",
            help="The layer whose hidden states are the features, 0 to the deepest, or several: "
            "9-12 or 3,6. The bundle needs muqrt export --levels; mix, its weighted sum of levels, "
            "needs --mix.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn audio into embeddings.

    Long tracks are cut into windows, and a step depends on its window: a folder has one length.

    The model runs on this machine (--bundle) or on a Triton server (--server).
    """
    from ..runtime.inference.levels import at_level, parsed_level
    from ..runtime.inference.windows import window_length
    from ..runtime.memory.work import Work
    from ..runtime.model import Model
    from .audio.progress import AudioProgress
    from .outputs.tasks import Tasks, with_features, with_results

    if features and options.output is None:
        raise UsageError("--features are large: say where they go with --output.")
    chosen = parsed_level(level)
    if chosen not in (None, "mix") and options.server is not None:
        raise UsageError("--level needs --bundle: servers have no levels.")
    length = window_length(window)
    tasks = Tasks.for_files(audio_files(options.audio), options.output)
    wanted = Work("features" if features else "embeddings", length, overlap_seconds, chosen)
    fit = options.place.fitted(wanted, options.batch_size)
    with options.open_session(1 if features else len(tasks.tasks)) as opened:
        session = opened if chosen is None else at_level(opened, chosen)
        model = Model(
            session,
            overlap_seconds,
            fit.batch_size,
            tolerance=damage.damages.tolerance,
            seconds_ahead=fit.seconds_ahead,
        )
        tasks.windowing = model.windowing(length)
        heard = AudioProgress(tasks.audio, session.framing)
        if features:
            running = with_features(tasks.tasks, model, length, heard.on_window)
            tasks.run("Embedding", session, "features", running, heard)
        else:
            embedded = model.embed_files(tasks.audio, heard.on_window, length)
            running = with_results(tasks.tasks, embedded)
            tasks.run("Embedding", session, "embeddings", running, heard)
    tasks.report("embedding", options.place, as_json, damage.damages)
