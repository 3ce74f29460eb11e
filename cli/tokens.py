"""``muqrt tokens``: audio to tokens, here or on a server."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json
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
def tokens(
    audio: AudioPaths,
    bundle: BundleFolder = None,
    server: ServerAddress = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="An .npy file for one audio file; for more an .npz or a .parquet with all, or a "
            "folder, filled with one .npy each. Files already in a folder are kept, so an "
            "interrupted run goes on.",
        ),
    ] = None,
    model: ServedModel = None,
    artefact: ArtefactName = None,
    threads: Threads = None,
    batch_size: BatchSize = 1,
    timeout_seconds: TimeoutSeconds = None,
    bulk: Bulk = False,
    as_json: Json = False,
) -> None:
    """Turn audio into the tokens of a bundle's RVQ, here or on a server."""
    from ..runtime.bundle.tokens import Tokenizer
    from ..runtime.engines.session import require
    from ..runtime.model import Model
    from .outputs.archives import archive_tasks, is_archive, open_archive
    from .outputs.tasks import claim_on, report, run_all, run_tasks, save_npy, tasks_for

    files = list(audio_files(audio))
    archive = output if output is not None and is_archive(output) else None
    if archive is not None:
        tasks, kept = archive_tasks(files, archive), 0
    else:
        tasks, kept = tasks_for(files, output)
    with ExitStack() as stack:
        session = stack.enter_context(
            open_session(bundle, server, model, artefact, threads, timeout_seconds, bulk)
        )
        tokenizer = require(session, Tokenizer)
        dtype = tokenizer.file_dtype
        if archive is not None:
            facts = {
                **tokenizer.model_dump(),
                "steps_per_second": session.framing.steps_per_second,
                "artefact_sha256": session.artefact_sha256,
            }
            claim, save = None, stack.enter_context(open_archive(archive, dtype, facts))
        else:
            claim, save = claim_on(output, session, "tokens"), partial(save_npy, dtype=dtype)
        loaded = Model(session, batch_size=batch_size)
        results = loaded.tokens_files([task.audio for task in tasks])
        done = run_all("Tokenizing", run_tasks(tasks, results, save), len(tasks), claim)
    report(done, kept, "tokens", as_json)
