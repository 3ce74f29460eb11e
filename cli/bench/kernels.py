"""``muqrt bench kernels``."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, progress, show, table
from ...errors import UsageError
from .model import require_extra

commands = typer.Typer()
_DEFAULT_CELLS = {"cpu": "1x10,1x30", "cuda": "1x10,64x30"}
_CELL = re.compile(r"(\d+)x(\d+(?:\.\d+)?)")


@commands.command()
def bench_kernels(
    checkpoint: Annotated[str, typer.Argument(help="Folder, .pt file or hub id with an RVQ.")],
    device: Annotated[str, typer.Option(help="cpu, or cuda for the fused kernels.")] = "cpu",
    cells: Annotated[
        str | None,
        typer.Option(help="Batches of seconds of audio, as 1x10,64x30.", metavar="BxS,..."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each; all cores by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=5, help="Of each contender.")] = 20,
    compile_: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure torch.compile too.")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write NAME.json and NAME.md.", metavar="NAME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the mel and Mel-RVQ operations alone, against PyTorch."""
    require_extra()
    import torch

    from ...benchmarks.kernels.report import remarks, result_table, write_report
    from ...benchmarks.kernels.run import run
    from ...benchmarks.measure.latency import Cell
    from ...export.sources.checkpoint import load_source
    from ...export.sources.rvq import own_rvq

    if device not in _DEFAULT_CELLS or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"--device {device}: choose cpu, or cuda where PyTorch finds a GPU.")
    wanted = []
    for text in (cells or _DEFAULT_CELLS[device]).split(","):
        match = _CELL.fullmatch(text.strip())
        if not match:
            raise UsageError(f"--cells {text!r}: write a batch and seconds, as 64x30.")
        wanted.append(Cell(float(match[2]), int(match[1])))
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_source(checkpoint)
    with progress("Benchmark", 2 * len(wanted)) as bar:
        report = run(loaded.model, own_rvq(loaded), wanted, device, rounds, compile_, bar)
    written = write_report(report, output) if output is not None else []
    show(
        as_json,
        asdict(report),
        table(*result_table(report)),
        *remarks(report),
        *(f"Wrote {path}" for path in written),
    )
