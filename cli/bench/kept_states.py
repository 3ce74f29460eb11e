"""``muqrt bench kept-states``."""

from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from ...errors import UsageError
from .options import ReportName

commands = typer.Typer()


@commands.command("kept-states")
def kept_states(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a MuQ.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files.")],
    head: Annotated[
        Path | None,
        typer.Option(help="Folder of a tagging head; the checkpoint's own, in tags/, by default."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How much of each file to use.")] = 25.0,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Measure how wrong tags would be if live streams kept the states of past steps."""
    import_extra("bench", "onnx", "torch")
    from ...benchmarks.kept_states.run import measure_kept_states
    from ...benchmarks.measure.report import check_output, publish
    from ...export.sources.head import find_head, load_tag_head
    from ...reference.checkpoint import load_checkpoint
    from ...runtime.audio import read

    folder = head or find_head(checkpoint)
    if folder is None:
        raise UsageError(f"{checkpoint}: has no tagging head of its own; name one with --head.")
    check_output(output)
    loaded, tags = load_checkpoint(checkpoint), load_tag_head(folder)
    tags.check(loaded, loaded.model.config.encoder_depth)
    length = round(seconds * read.SAMPLE_RATE_HZ)
    waveforms = [(path.name, read.load(path)[:length]) for path in audio]
    with progress("Benchmark", len(waveforms)) as bar:
        name = Path(checkpoint).name
        report = measure_kept_states(loaded.model, tags.head, waveforms, name, bar.advance)
    publish(report, output, as_json)
