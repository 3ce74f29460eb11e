"""``muqrt bench model``."""

import typer

from ...benchmarks.measure.report import check_output, publish
from ...benchmarks.model.request import BenchmarkRequest
from ...common.console import Json, progress
from ...common.environment import require
from ..parameters import expand_options
from .options import BundleFolder, Output, Source

commands = typer.Typer()


@commands.command()
@expand_options
def model(
    bundle: BundleFolder,
    checkpoint: Source,
    request: BenchmarkRequest,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle's speed against PyTorch and plain ONNX."""
    require("bench", "onnx", "psutil", "torch")
    from ...benchmarks.model.plan import plan
    from ...benchmarks.model.run import run

    wanted = plan(bundle, checkpoint, request)
    check_output(output, charts_from="bench")
    with progress("Benchmark", wanted.steps) as bar:
        report = run(wanted, bar.advance)
    publish(report, output, as_json)
