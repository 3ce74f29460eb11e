"""``muqrt estimate``."""

from typing import Annotated

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from ...errors import UsageError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..options import UsualBundle
from .options import ReportName

_LEAST_SECONDS, _MOST_SECONDS = 0.1, 3600.0  # of a window

commands = typer.Typer()


@commands.command()
def estimate(
    gpu: Annotated[
        str,
        typer.Option(
            help="GPUs, separated by commas: t4, a10, a100, l4, l40s, rtx4090, rtx5090, h100 or "
            "h200.",
            metavar="NAME,...",
        ),
    ],
    bundle: UsualBundle = SHIPPED_BUNDLE,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Whose rates count: fp32, tf32, fp16, bf16, int8, fp8, separated by commas. Where "
            "no artefact has it, the fp32 graph is counted as if it had. Default: the artefact's.",
            metavar="P,...",
        ),
    ] = None,
    artefact: Annotated[
        str | None, typer.Option(help="ONNX artefact to count; the first that fits by default.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=_LEAST_SECONDS, max=_MOST_SECONDS, help="Seconds of a window.")
    ] = 10.0,
    output: ReportName = None,
    as_json: Json = False,
) -> None:
    """Bound from below how fast a GPU can be: arithmetic, no measurement."""
    import_extra("export", "onnx")
    from ...benchmarks.measure.report import check_output, publish
    from ...benchmarks.roofline.gpus import gpu_named
    from ...benchmarks.roofline.report import estimate as estimated
    from ...runtime.bundle.manifest import load_bundle

    gpus = [gpu_named(each) for each in _listed("--gpu", gpu)]
    precisions = _listed("--precision", precision) if precision is not None else [None]
    check_output(output)
    loaded = load_bundle(bundle)
    with progress("Count", len(precisions)) as bar:
        report = estimated(loaded, gpus, precisions, artefact, seconds, bar.advance)
    publish(report, output, as_json)


def _listed(option: str, text: str) -> list[str]:
    names = [each.strip() for each in text.split(",")]
    if not all(names):
        raise UsageError(f"{option} {text!r}: give names separated by commas, without empty ones.")
    return list(dict.fromkeys(names))
