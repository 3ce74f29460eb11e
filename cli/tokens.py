"""``muqrt tokens``."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..common.console import Json
from .audio.files import audio_files
from .damage import DamageOptions
from .options import AudioToArrays
from .parameters import expand_options

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class AudioToTokens(AudioToArrays):
    """``AudioToArrays`` that may go to one file."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="For one audio file, an .npy file to write. For several, an .npz or .parquet file "
            "with all of them, or a folder to fill with one .npy file each; files that are already "
            "in the folder are kept, so that an interrupted run can be continued.",
        ),
    ] = None


@commands.command()
@expand_options
def tokens(options: AudioToTokens, damage: DamageOptions, as_json: Json = False) -> None:
    """Turn audio into the tokens of an RVQ.

    The model runs on this machine (--bundle) or on a Triton server (--server).
    """
    from ..runtime.bundle.tokens import Tokenizer
    from ..runtime.engines.session import require_output
    from ..runtime.memory.work import Work
    from ..runtime.model import Model
    from .audio.progress import AudioProgress
    from .outputs.archives import is_archive, open_archive
    from .outputs.tasks import Save, Tasks, save_npy, with_results

    output = options.output
    archive = output if output is not None and is_archive(output) else None
    files = audio_files(options.audio)
    tasks = Tasks.for_archive(files, archive) if archive else Tasks.for_files(files, output)
    fit = options.place.fitted(Work("tokens"), options.batch_size)
    with ExitStack() as stack:
        session = stack.enter_context(options.open_session(len(tasks.tasks)))
        tokenizer = require_output(session, Tokenizer)
        save: Save = partial(save_npy, dtype=tokenizer.file_dtype)
        if archive is not None:
            facts = {
                **tokenizer.model_dump(),
                "steps_per_second": session.framing.steps_per_second,
                "artefact_sha256": session.artefact_sha256,
            }
            save = stack.enter_context(open_archive(archive, tokenizer.file_dtype, facts))
        model = Model(
            session,
            batch_size=fit.batch_size,
            tolerance=damage.damages.tolerance,
            seconds_ahead=fit.seconds_ahead,
        )
        heard = AudioProgress(tasks.audio, session.framing)
        results = model.tokens_files(tasks.audio, heard.on_window)
        running = with_results(tasks.tasks, results, save)
        tasks.run("Tokenizing", session, "tokens", running, heard)
    tasks.report("tokens", options.place, as_json, damage.damages)
