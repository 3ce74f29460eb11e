"""What the command line asks the benchmark of a model to measure."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class BenchmarkRequest:
    """Options of ``muqrt bench model``; lists are comma-separated, defaults depend on others."""

    device: Annotated[str, typer.Option(help="Where all contenders run: cpu or cuda.")] = "cpu"
    cpu: Annotated[
        bool,
        typer.Option(
            "--cpu",
            help="Measure everything about a CPU: one thread and all, changing one thing at a "
            "time; where the time goes, the machine's arithmetic, a live stream, songs an hour.",
        ),
    ] = False
    windows: Annotated[str, typer.Option(help="Lengths of audio in seconds, comma-separated.")] = (
        "5,10,30"
    )
    batches: Annotated[
        str | None,
        typer.Option(help="Batch sizes, comma-separated; default: 1,4; on a GPU 1,8,32."),
    ] = None
    threads: Annotated[
        str | None,
        typer.Option(
            help="CPU threads of each contender, comma-separated; default: all cores; with --cpu "
            "one and all."
        ),
    ] = None
    rounds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="How often each contender runs; slow inputs get fewer rounds, but at least 3. "
            "Default: 10; with --cpu 5, on a GPU 100.",
        ),
    ] = None
    compiles: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Measure torch.compile too, fp32 and bf16."),
    ] = True
    compile_batches: Annotated[
        str | None,
        typer.Option(
            help="Batch sizes to compile for, among --batches; default: all; with --cpu or on a "
            "GPU the smallest, for the middle window."
        ),
    ] = None
    hops: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1000,
            help="Time this many hops of a live stream, 0.5 s each, with windows of 10 s; "
            "default: 0; with --cpu 5.",
        ),
    ] = None
    songs: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="Embed this many songs of 3 minutes, decoding included; default: 0; with --cpu 2.",
        ),
    ] = None
    allow_uncertified: Annotated[
        bool, typer.Option(help="Report artefacts without a passing certificate too, marked.")
    ] = False
