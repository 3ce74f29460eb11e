"""``muqrt info``."""

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json, show, table

commands = typer.Typer()


@commands.command()
def info(
    bundle: Annotated[Path, typer.Argument(help="Folder that muqrt export wrote.")],
    as_json: Json = False,
) -> None:
    """Show what is in a bundle, after checking every hash."""
    from .bundle import load_bundle

    loaded = load_bundle(bundle)
    for artefact in loaded.artefacts:
        loaded.verify(artefact)
    rows = [
        [
            artefact.name,
            artefact.engine,
            artefact.precision,
            artefact.level,
            ", ".join(spec.name for spec in artefact.outputs),
            f"{loaded.size_bytes(artefact) / 1e6:.1f}",
            "yes" if artefact.certified else "NO",
        ]
        for artefact in loaded.artefacts
    ]
    columns = ["artefact", "engine", "precision", "level", "outputs", "MB", "certified"]
    window = loaded.framing.window_samples / loaded.framing.sample_rate_hz
    show(
        as_json,
        loaded.model_dump(),
        f"{loaded.source.checkpoint}: {loaded.source.parameters / 1e6:.1f}M parameters, "
        f"{loaded.framing.steps_per_second:g} features a second, windows of {window:g} s",
        table(str(bundle), columns, rows),
    )
