"""``muqrt embed``: audio to embeddings, here or on a server."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Json, progress, show
from .errors import AudioError, UsageError

if TYPE_CHECKING:
    from .runtime.session import Session

commands = typer.Typer()

_AUDIO_SUFFIXES = {".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg"}
_AUDIO_SUFFIXES |= {".opus", ".wav", ".webm", ".wma"}


@commands.command()
def embed(
    audio: Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")],
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Run it here.")] = None,
    server: Annotated[
        str | None, typer.Option(help="Run it on a Triton server: host:port of its gRPC.")
    ] = None,
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
    model: Annotated[
        str | None, typer.Option(help="Name of the model on the server; muq by default.")
    ] = None,
    artefact: Annotated[str | None, typer.Option(help="Which artefact of the bundle.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores by default.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows to run at once.")] = 1,
    overlap_seconds: Annotated[
        float | None, typer.Option(min=0, max=600, help="Shared by neighbouring windows; 2 s.")
    ] = None,
    timeout_seconds: Annotated[
        float | None, typer.Option(min=0.1, max=86400, help="For one answer of the server.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed audio, here or on a server."""
    from .runtime.model import Model
    from .runtime.outputs import Claim, Task, is_one_file, run_tasks, tasks_for

    tasks, kept = tasks_for(list(_expand(audio)), output)
    if features and output is None:
        raise UsageError("--features are large: say where they go with --output.")
    done: list[Task] = []
    with _session(bundle, server, model, artefact, threads, timeout_seconds) as session:
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


def _session(
    bundle: Path | None,
    server: str | None,
    model: str | None,
    artefact: str | None,
    threads: int | None,
    timeout_seconds: float | None,
) -> "Session":
    if (bundle is None) == (server is None):
        raise UsageError("say where to run it: either --bundle FOLDER or --server HOST:PORT.")
    if bundle is not None:
        if model is not None or timeout_seconds is not None:
            raise UsageError("--model and --timeout-seconds are for --server, not for --bundle.")
        from .runtime.model import open_bundle

        return open_bundle(bundle, artefact, threads)
    if artefact is not None or threads is not None:
        raise UsageError("--artefact and --threads are for --bundle; a server has its own.")
    from .triton_repo.client import TIMEOUT_SECONDS, TritonSession

    assert server is not None
    return TritonSession(server, model or "muq", timeout_seconds or TIMEOUT_SECONDS)


def _expand(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Every audio file with its path relative to the folder it was found in."""
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        found = sorted(
            p for p in path.rglob("*") if p.suffix.lower() in _AUDIO_SUFFIXES and not p.is_dir()
        )
        if not found:
            raise AudioError(f"{path}: no audio files in this folder.")
        yield from ((file, file.relative_to(path)) for file in found)
