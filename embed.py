"""``muqrt embed``: audio to embeddings, here or on a server."""

from pathlib import Path
from typing import Annotated

import typer

from .arguments import (
    ArtefactName,
    AudioPaths,
    BatchSize,
    BundleFolder,
    ServedModel,
    ServerAddress,
    Threads,
    TimeoutSeconds,
    audio_files,
    open_session,
)
from .console import Json, progress, show
from .errors import AudioError, UsageError

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
    as_json: Json = False,
) -> None:
    """Embed audio, here or on a server."""
    from .runtime.model import Model
    from .runtime.outputs import Claim, Task, is_one_file, run_tasks, tasks_for

    tasks, kept = tasks_for(list(audio_files(audio)), output)
    if features and output is None:
        raise UsageError("--features are large: say where they go with --output.")
    done: list[Task] = []
    with open_session(bundle, server, model, artefact, threads, timeout_seconds) as session:
        loaded = Model(session, overlap_seconds, batch_size)
        claim = None
        if output is not None and not is_one_file(output):
            claim = Claim(output, session.artefact_sha256, features)
            claim.check()
        with progress("Embedding", len(tasks)) as bar:
            for task in run_tasks(loaded, tasks, features):
                bar.advance(task.audio.name)
                if claim is not None and not task.error:
                    claim.write()
                done.append(task)
    failed = [task for task in done if task.error]
    documents = [task.document(with_values=as_json and output is None) for task in done]
    lines = [*(task.line() for task in done), *([f"{kept} already there, kept."] if kept else [])]
    show(as_json, {"results": documents, "kept": kept}, *lines)
    if failed:
        raise AudioError(f"{len(failed)} of {len(done)} files could not be used (see above).")
