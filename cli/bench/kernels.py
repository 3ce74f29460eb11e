"""``muqrt bench kernels``."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from ...benchmarks.measure.report import check_output, publish
from ...common.console import Json, progress
from ...common.environment import require
from ...errors import UsageError
from .options import Compiles, Output, Threads

if TYPE_CHECKING:
    from ...benchmarks.measure.latency import Cell

commands = typer.Typer()
_DEFAULT_CELLS = {"cpu": "1x10,1x30", "cuda": "1x10,64x30"}
_CELL = re.compile(r"(\d+)x(\d+(?:\.\d+)?)")


@commands.command()
def kernels(
    checkpoint: Annotated[str, typer.Argument(help="Folder, .pt file or hub id with an RVQ.")],
    device: Annotated[str, typer.Option(help="cpu, or cuda for the fused kernels.")] = "cpu",
    cells: Annotated[
        str | None,
        typer.Option(help="Batches and seconds of audio, such as 1x10,64x30.", metavar="BxS,..."),
    ] = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=5, help="How often each contender runs.")] = 20,
    compile_: Compiles = True,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure the mel and Mel-RVQ kernels against PyTorch."""
    require("bench", "onnx", "psutil", "torch")
    import torch

    from ...benchmarks.kernels.run import run
    from ...export.sources.checkpoint import load_source
    from ...export.sources.rvq import own_rvq

    if device not in _DEFAULT_CELLS or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"--device {device}: choose cpu, or cuda where PyTorch finds a GPU.")
    wanted = _cells(cells or _DEFAULT_CELLS[device])
    check_output(output)
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_source(checkpoint)
    with progress("Benchmark", 2 * len(wanted)) as bar:
        rvq = own_rvq(loaded)
        report = run(loaded.model, rvq, wanted, device, rounds, compile_, bar.advance)
    publish(report, output, as_json)


def _cells(text: str) -> "list[Cell]":
    from ...benchmarks.measure.latency import Cell

    found = []
    for each in text.split(","):
        match = _CELL.fullmatch(each.strip())
        if not match:
            raise UsageError(f"--cells {each!r}: give a batch and seconds, such as 64x30.")
        found.append(Cell(float(match[2]), int(match[1])))
    return found
