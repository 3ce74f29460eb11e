"""``muqrt synth-corpus``."""

import os
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, Table, progress, show
from ...common.environment import import_extra

commands = typer.Typer()


class Recipe(str, Enum):
    """How a corpus is made."""

    GENERAL_MIDI = "general-midi"
    STUDIO = "studio"


_SPLITS = ("train", "valid", "test")
_SECONDS_PER_HOUR = 3600


@commands.command("synth-corpus")
def synth_corpus(
    output: Annotated[Path, typer.Option("--output", "-o", help="Corpus folder to write.")],
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="general-midi: the corpus of the first muq-mini. studio: closer to music."
        ),
    ] = Recipe.GENERAL_MIDI,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    songs: Annotated[int, typer.Option(help="Number of songs.")] = 1200,
    scores: Annotated[
        int, typer.Option(help="Number of performances of scores that people wrote (studio only).")
    ] = 0,
    voices: Annotated[int, typer.Option(help="Number of clips of one singer.")] = 1200,
    notes: Annotated[int, typer.Option(help="Number of clips of one note.")] = 2400,
    song_seconds: Annotated[
        float, typer.Option(min=8, max=600, help="Approximate length of a song.")
    ] = 30.0,
    soundfont: Annotated[
        list[Path] | None,
        typer.Option(help="General MIDI soundfont (.sf2); Debian's by default; may be repeated."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; one per core by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compose, render and label a synthetic music corpus."""
    import_extra("train", "scipy")
    from ...training.synth.corpus import MANIFEST, synthesize_corpus

    counts = {"song": songs, "score": scores, "voice": voices, "note": notes}
    if not scores:
        del counts["score"]
    with progress("Synthesizing", sum(counts.values())) as bar:
        rows = synthesize_corpus(
            output,
            seed,
            counts,
            song_seconds,
            soundfont or [],
            jobs or os.cpu_count() or 1,
            on_step=bar.advance,
            recipe=recipe.value,
        )
    hours = sum(row["seconds"] for row in rows) / _SECONDS_PER_HOUR
    kinds = Counter((row["song"].partition("-")[0], row["split"]) for row in rows)
    splits = {kind: {split: kinds[kind, split] for split in _SPLITS} for kind in counts}
    show(
        as_json,
        {"manifest": str(output / MANIFEST), "hours": round(hours, 3), "counts": splits},
        Table(
            "Items", ["kind", *_SPLITS], [[kind, *each.values()] for kind, each in splits.items()]
        ),
        f"Wrote {output / MANIFEST}: {len(rows)} recordings, {hours:.2f} hours.",
    )
