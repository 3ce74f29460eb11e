"""``muqrt embed``: audio to embeddings, here or on a server."""

from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json
from ..errors import UsageError
from .options import (
    ArtefactName,
    AudioPaths,
    BatchSize,
    Bulk,
    BundleFolder,
    ServedModel,
    ServerAddress,
    Threads,
    TimeoutSeconds,
    audio_files,
    open_session,
)

commands = typer.Typer()


@commands.command()
def embed(
    audio: AudioPaths,
    bundle: BundleFolder = None,
    server: ServerAddress = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="An .npy file for one audio file; a folder, filled with one .npy each, for more. "
            "Files already there are kept, so an interrupted run goes on.",
        ),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="All features (steps, width), not their mean.")
    ] = False,
    model: ServedModel = None,
    artefact: ArtefactName = None,
    threads: Threads = None,
    batch_size: BatchSize = 1,
    overlap_seconds: Annotated[
        float | None, typer.Option(min=0, max=600, help="Shared by neighbouring windows; 2 s.")
    ] = None,
    timeout_seconds: TimeoutSeconds = None,
    bulk: Bulk = False,
    as_json: Json = False,
) -> None:
    """Embed audio, here or on a server."""
    from ..runtime.model import Model
    from .outputs.tasks import claim_on, report, run_all, run_feature_tasks, run_tasks, tasks_for

    tasks, kept = tasks_for(list(audio_files(audio)), output)
    if features and output is None:
        raise UsageError("--features are large: say where they go with --output.")
    with open_session(bundle, server, model, artefact, threads, timeout_seconds, bulk) as session:
        loaded = Model(session, overlap_seconds, batch_size)
        claim = claim_on(output, session, "features" if features else "embeddings")
        if features:
            running = run_feature_tasks(loaded, tasks)
        else:
            running = run_tasks(tasks, loaded.embed_files([task.audio for task in tasks]))
        done = run_all("Embedding", running, len(tasks), claim)
    report(done, kept, "embedding", as_json)
