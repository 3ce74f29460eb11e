"""``muqrt catalogue plan``."""

from typing import Annotated

import typer

from ...common.console import Json, note, progress, show
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..damage import DamageOptions
from ..embed import Window
from ..options import ArtefactName, place_option
from ..parameters import expand_options

_SKIPPED_SHOWN = 10

commands = typer.Typer()


@commands.command()
@expand_options
def plan(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folders, globs, audio files, or .parquet and .csv lists of them: paths here, "
            "s3://, gs:// or http:// addresses.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="JOB", help="Folder of the new job.")
    ],
    *,
    outputs: Annotated[
        str,
        typer.Option(
            help="What to compute, comma-separated: embedding, tags, tokens, latents.",
        ),
    ] = "embedding",
    column: Annotated[
        str | None,
        typer.Option(help="Column of a list with the tracks; audio, key, path or url by default."),
    ] = None,
    partition_tracks: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="Tracks that are computed together: what a process that dies has to repeat.",
        ),
    ] = 64,
    bundle: Annotated[
        str,
        place_option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            show_default=False,
            help="Bundle folder, or hf://USER/NAME on the hub; muq-mini's, which comes with muqrt, "
            "by default.",
        ),
    ] = str(SHIPPED_BUNDLE),
    artefact: ArtefactName = None,
    damage: DamageOptions,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Write a job: which tracks, what to compute, and with which model.

    Nothing is computed yet, and no audio is read.
    """
    from ...catalogue.manifest import find_keys
    from ...catalogue.planning import bundle_of, plan_job, recipe_of
    from ...runtime.inference.windows import window_length

    wanted = [each.strip() for each in outputs.split(",") if each.strip()]
    share = damage.damages.tolerance.most_lost_share
    recipe = recipe_of(bundle_of(bundle), wanted, artefact, window_length(window), share)
    with progress("Listing tracks", None):
        found = find_keys(sources, column)
    job = plan_job(output, bundle, recipe, found.keys, sources, partition_tracks)
    facts = {
        "job": job.folder.address,
        "tracks": len(found.keys),
        "partitions": len(job.partitions),
        "repeated": found.repeated,
        "skipped": found.skipped,
    }
    for each in found.skipped[:_SKIPPED_SHOWN]:
        note(f"{each}: skipped; no reader here decodes it, or its name is no text.")
    if (more := len(found.skipped) - _SKIPPED_SHOWN) > 0:
        note(f"{more} more files skipped; --json lists them.")
    show(
        as_json,
        facts,
        f"{facts['job']}: {facts['tracks']} tracks in {facts['partitions']} partitions",
        f"{found.repeated} tracks were named more than once." if found.repeated else "",
        f"Next: muqrt catalogue run {output}",
    )
