"""What ``muqrt embed`` and ``muqrt tag`` are both told: which audio, and where the model runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AudioError, UsageError

if TYPE_CHECKING:
    from ..runtime.engines.session import Session

_AUDIO_SUFFIXES = {".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg"}
_AUDIO_SUFFIXES |= {".opus", ".wav", ".webm", ".wma"}

AudioPaths = Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")]
BundleFolder = Annotated[Path | None, typer.Option("--bundle", "-b", help="Run it here.")]
ServerAddress = Annotated[
    str | None, typer.Option(help="Run it on a Triton server: host:port of its gRPC.")
]
ServedModel = Annotated[
    str | None, typer.Option(help="Name of the model on the server; muq by default.")
]
ArtefactName = Annotated[str | None, typer.Option(help="Which artefact of the bundle.")]
TextArtefactName = Annotated[str | None, typer.Option(help="Which of its text towers.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows to run at once.")]
TimeoutSeconds = Annotated[
    float | None, typer.Option(min=0.1, max=86400, help="For one answer of the server.")
]

Bulk = Annotated[
    bool,
    typer.Option(
        "--bulk", help="Let others overtake on the server, where the model has a queue for it."
    ),
]


def open_session(
    bundle: Path | None,
    server: str | None,
    model: str | None,
    artefact: str | None,
    threads: int | None,
    timeout_seconds: float | None,
    bulk: bool,
) -> "Session":
    """The session of a bundle's artefact, or of a server's model.

    Raises:
        UsageError: what ``check_place`` raises, or bulk without a server.
    """
    check_place(bundle, server, model, artefact, threads, timeout_seconds)
    if bulk and server is None:
        raise UsageError("--bulk is for --server, not for --bundle.")
    if bundle is not None:
        from ..runtime.load import open_bundle

        return open_bundle(bundle, artefact, threads)
    from ..triton_repo.client.session import TIMEOUT_SECONDS, TritonSession

    assert server is not None
    return TritonSession(server, model or "muq", timeout_seconds or TIMEOUT_SECONDS, bulk)


def check_place(
    bundle: Path | None,
    server: str | None,
    model: str | None,
    artefact: str | None,
    threads: int | None,
    timeout_seconds: float | None,
) -> None:
    """Raise UsageError if neither or both were named, or one with the other's options."""
    if (bundle is None) == (server is None):
        raise UsageError("say where to run it: either --bundle FOLDER or --server HOST:PORT.")
    if bundle is not None and (model is not None or timeout_seconds is not None):
        raise UsageError("--model and --timeout-seconds are for --server, not for --bundle.")
    if server is not None and (artefact is not None or threads is not None):
        raise UsageError("--artefact and --threads are for --bundle; a server has its own.")


def audio_files(paths: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Every audio file with its path relative to the folder it was found in.

    Raises:
        AudioError: a folder without any.
    """
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
