"""``muqrt embed``: audio to embeddings, here or on a server."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Json, progress, show
from .errors import AudioError, UsageError

if TYPE_CHECKING:
    from .runtime.model import Model

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
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "muq",
    artefact: Annotated[str | None, typer.Option(help="Which artefact of the bundle.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores by default.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows to run at once.")] = 1,
    overlap_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Shared by neighbouring windows.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Embed audio, here or on a server."""
    from .runtime.outputs import Job, jobs_for, run_jobs

    jobs, kept = jobs_for(list(_expand(audio)), output)
    if features and output is None:
        raise UsageError("--features are large: say where they go with --output.")
    done: list[Job] = []
    opened = _open(bundle, server, model, artefact, threads, overlap_seconds, batch_size)
    with (
        opened as loaded,
        progress("Embedding", len(jobs)) as bar,
    ):
        for job in run_jobs(loaded, jobs, features):
            bar.advance(job.audio.name)
            done.append(job)
    failed = [job for job in done if job.error]
    documents = [job.document(with_values=as_json and output is None) for job in done]
    lines = [*(job.line() for job in done), *([f"{kept} already there, kept."] if kept else [])]
    show(as_json, {"results": documents, "kept": kept}, *lines)
    if failed:
        raise AudioError(f"{len(failed)} of {len(done)} files could not be used (see above).")


def _open(
    bundle: Path | None,
    server: str | None,
    model: str,
    artefact: str | None,
    threads: int | None,
    overlap_seconds: float,
    batch_size: int,
) -> "Model":
    from .runtime.model import Model, load

    if (bundle is None) == (server is None):
        raise UsageError("say where to run it: either --bundle FOLDER or --server HOST:PORT.")
    if bundle is not None:
        return load(
            bundle, artefact, threads, overlap_seconds=overlap_seconds, batch_size=batch_size
        )
    from .triton_repo.client import TritonSession

    assert server is not None
    return Model(TritonSession(server, model), overlap_seconds, batch_size)


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
