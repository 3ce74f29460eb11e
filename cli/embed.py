"""``muqrt embed``."""

from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json
from ..errors import UsageError
from .options import AudioPaths, WhereForFiles, audio_files
from .parameters import expand_options

commands = typer.Typer()


@commands.command()
@expand_options
def embed(
    audio: AudioPaths,
    where: WhereForFiles,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="For one audio file, an .npy file to write. For several, a folder to fill with "
            "one .npy file each; files that are already there are kept, so that an interrupted "
            "run can be continued.",
        ),
    ] = None,
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
    as_json: Json = False,
) -> None:
    """Turn audio into embeddings.

    The model runs on this machine (--bundle) or on a Triton server (--server).
    """
    from ..runtime.model import Model
    from .outputs.tasks import Tasks, with_features, with_results

    if features and output is None:
        raise UsageError("--features are large: say where they go with --output.")
    place = where.place
    tasks = Tasks.for_files(list(audio_files(audio)), output)
    with place.open_session() as session:
        model = Model(session, overlap_seconds, where.batch_size)
        if features:
            tasks.run("Embedding", session, "features", with_features(tasks.tasks, model))
        else:
            running = with_results(tasks.tasks, model.embed_files(tasks.audio))
            tasks.run("Embedding", session, "embeddings", running)
    tasks.report("embedding", as_json)
