"""``muqrt bench compile``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...common.console import Json, progress
from ...common.environment import import_extra
from ...errors import UsageError

commands = typer.Typer()


@commands.command("compile")
def compile_(
    checkpoints: Annotated[
        list[str],
        typer.Argument(help="Folders, .pt files or hub ids of MuQs and MuQ-MuLans."),
    ],
    targets: Annotated[
        str | None,
        typer.Option(
            help="Kinds of GPU, separated by commas: sm75, sm89, ...; all by default.",
            metavar="T,...",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, bf16, int8-qdq, fp8-qdq, separated by commas; all by default.",
            metavar="P,...",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Graphs at a time; about 1 GB each.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write NAME.json and NAME.md; a run that was interrupted continues.",
            metavar="NAME",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile every kind of graph for GPUs with TensorRT for RTX; needs no GPU."""
    import_extra("export", "onnx", "torch")
    from ...benchmarks.compiling.graphs import GraphSource
    from ...benchmarks.compiling.run import compile_all
    from ...benchmarks.measure.report import check_output, publish
    from ...export.sources.checkpoint import load_source
    from ...runtime.bundle.engine_options import RTX_TARGETS

    chosen = list(RTX_TARGETS) if targets is None else _among("--targets", targets, RTX_TARGETS)
    check_output(output)
    sources = [GraphSource(load_source(each)) for each in checkpoints]
    graphs = [(source, kind) for source in sources for kind in source.kinds()]
    if precision is not None:
        forms = list(dict.fromkeys(kind.form for _, kind in graphs))
        wanted = _among("--precision", precision, forms)
        graphs = [(source, kind) for source, kind in graphs if kind.form in wanted]
    builds = sum(len(source.profiles(kind)) for source, kind in graphs) * len(chosen)
    kept = None if output is None else output.with_name(output.name + ".partial")
    with progress("Compile", builds) as bar:
        report = compile_all(graphs, chosen, jobs, kept, bar.advance)
    publish(report, output, as_json)


def _among(option: str, text: str, known: Sequence[Any]) -> list[Any]:
    found = list(dict.fromkeys(each.strip() for each in text.split(",")))
    if not set(found) <= set(known):
        raise UsageError(f"{option} {text!r}: choose among {', '.join(known)}.")
    return found
