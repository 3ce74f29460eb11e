"""``muqrt bench towers``."""

import os
from typing import Annotated

import typer

from ...benchmarks.measure.report import check_output, publish
from ...common.console import Json, progress
from ...common.environment import require
from .options import BundleFolder, Output, Source, Threads

commands = typer.Typer()


@commands.command()
def towers(
    bundle: BundleFolder,
    checkpoint: Source,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contender runs.")] = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a MuQ-MuLan's towers on a CPU, against PyTorch."""
    require("bench", "onnx", "psutil", "torch")
    from ...benchmarks.towers.run import TEXTS, run
    from ...runtime.bundle.manifest import load_bundle

    check_output(output)
    loaded = load_bundle(bundle)
    with progress("Benchmark", len(TEXTS) + 1) as bar:
        report = run(loaded, checkpoint, threads or os.cpu_count() or 1, rounds, bar.advance)
    publish(report, output, as_json)
