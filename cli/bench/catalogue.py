"""``muqrt bench catalogue`` and ``search``: what many tracks cost beside the model."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from .options import ReportName

commands = typer.Typer()


@commands.command()
def catalogue(
    audio: Annotated[Path, typer.Argument(help="Folder of a few short audio files to embed.")],
    tracks: Annotated[
        int, typer.Option(min=1000, help="Tracks of the job that is planned and resumed.")
    ] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=3, help="How often the audio is embedded.")] = 10,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray", help="Compute a job by Ray too, on a cluster of this machine's addresses."
        ),
    ] = False,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Measure what a catalogue's job costs: planning, resuming, and beside the model."""
    import_extra("catalogue", "fsspec", "pyarrow")
    from ...benchmarks.catalogue import measure
    from ...benchmarks.measure.report import check_output, publish

    check_output(output)
    with progress("Benchmark", rounds + 3) as bar:
        report = measure(tracks, audio, rounds, ray, bar.advance)
    publish(report, output, as_json)


@commands.command()
def search(
    audio: Annotated[Path, typer.Argument(help="Folder of music, to take embeddings from.")],
    rows: Annotated[
        list[int] | None,
        typer.Option(
            min=1000,
            help="Embeddings of an index; may be repeated. Four by default, up to a million.",
        ),
    ] = None,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Measure the search among many embeddings, exact and with an IVF-PQ."""
    import_extra("search", "lancedb")
    from ...benchmarks.measure.report import check_output, publish
    from ...benchmarks.search import measure

    check_output(output)
    sizes = rows or [30_000, 100_000, 300_000, 1_000_000]
    with progress("Benchmark", len(sizes)) as bar:
        report = measure(audio, sizes, bar.advance)
    publish(report, output, as_json)
