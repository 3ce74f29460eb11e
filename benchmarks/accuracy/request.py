"""What the command line asks to evaluate."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer


def _many(*names: str, help: str) -> Any:
    """An option that may be given any number of times."""
    return typer.Option(
        *names, help=f"{help} Repeatable.", default_factory=list, show_default=False
    )


@dataclass(frozen=True)
class Wanted:
    """The contenders to evaluate."""

    bundles: Annotated[
        list[Path],
        typer.Argument(help="Bundle folders to compare.", default_factory=list, show_default=False),
    ] = field(default_factory=list)
    artefacts: Annotated[
        list[str], _many("--artefact", help="Only this artefact of the bundles.")
    ] = field(default_factory=list)
    text_artefact: Annotated[
        str | None,
        typer.Option(help="Text tower of a MuQ-MuLan; each bundle's first by default."),
    ] = None
    checkpoints: Annotated[
        list[str], _many("--checkpoint", help="Folder or hub id to evaluate in PyTorch.")
    ] = field(default_factory=list)
    baselines: Annotated[
        list[str],
        _many(
            "--baseline",
            help="mel: the spectrogram's mean and deviation. untrained: the --checkpoints' "
            "architecture with initial weights.",
        ),
    ] = field(default_factory=list)
    server: Annotated[
        str | None, typer.Option(help="Evaluate a Triton server's model: host:port of its gRPC.")
    ] = None
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "muq"
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="How many heads to fit, or initial weights to try, for the spread."
        ),
    ] = 3
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores by default.")
    ] = None
    allow_uncertified: Annotated[
        bool, typer.Option(help="Evaluate artefacts without a passing certificate too, marked.")
    ] = False
