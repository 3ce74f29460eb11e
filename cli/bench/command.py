"""``muqrt bench model``, ``kernels``, ``towers``, ``lengths``, ``drop-in`` and the others."""

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...benchmarks.measure.report import check_output, publish
from ...benchmarks.model.request import BenchmarkRequest
from ...common.console import Json, Table, progress, show
from ...common.environment import import_extra
from ...errors import UsageError
from ..options import OwnBundle
from ..parameters import expand_options

if TYPE_CHECKING:
    from ...benchmarks.measure.latency import Cell

Source = Annotated[str, typer.Option(help="The checkpoint that the bundle was made from.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each contender; all cores by default.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write NAME.json, NAME.md and any charts.", metavar="NAME"),
]
_DEFAULT_CELLS = {"cpu": "1x10,1x30", "cuda": "1x10,64x30"}
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 3600.0  # of a window
_CELL = re.compile(r"(\d+)x(\d+(?:\.\d+)?)")

commands = typer.Typer()


@commands.command()
@expand_options
def model(
    bundle: OwnBundle,
    checkpoint: Source,
    request: BenchmarkRequest,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle's speed against PyTorch and plain ONNX."""
    import_extra("bench", "onnx", "psutil", "torch")
    from ...benchmarks.model.plan import plan
    from ...benchmarks.model.run import run

    wanted = plan(bundle, checkpoint, request)
    check_output(output, charts_from="bench")
    with progress("Benchmark", wanted.steps) as bar:
        report = run(wanted, bar.advance)
    publish(report, output, as_json)


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
    compile_: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Measure torch.compile too.")
    ] = True,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure the mel and Mel-RVQ kernels against PyTorch."""
    import_extra("bench", "onnx", "psutil", "torch")
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


@commands.command()
def towers(
    bundle: OwnBundle,
    checkpoint: Source,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contender runs.")] = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a MuQ-MuLan's towers on a CPU, against PyTorch."""
    import_extra("bench", "onnx", "psutil", "torch")
    from ...benchmarks.towers.run import TEXTS, run
    from ...runtime.bundle.manifest import load_bundle

    check_output(output)
    loaded = load_bundle(bundle)
    with progress("Benchmark", len(TEXTS) + 1) as bar:
        report = run(loaded, checkpoint, threads or os.cpu_count() or 1, rounds, bar.advance)
    publish(report, output, as_json)


@commands.command()
def lengths(
    bundle: OwnBundle,
    checkpoint: Source,
    windows: Annotated[
        str, typer.Option(help="Windows in seconds, separated by commas.", metavar="S,...")
    ] = "30,144,208.8,420",
    memory_gb: Annotated[
        float | None,
        typer.Option(min=0.1, help="Stop a process that takes more memory than this, in GB."),
    ] = None,
    threads: Threads = None,
    allow_uncertified: Annotated[
        bool,
        typer.Option("--allow-uncertified", help="Measure artefacts without a certificate, too."),
    ] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure peak memory and seconds of long windows on a CPU, against PyTorch."""
    import_extra("bench", "onnx", "psutil", "torch")
    from ...benchmarks.model.lengths import measure_lengths
    from ...runtime.bundle.manifest import load_bundle

    seconds = _seconds(windows)
    check_output(output)
    loaded = load_bundle(bundle)
    limit = None if memory_gb is None else round(memory_gb * 1e9)
    about = threads or os.cpu_count() or 1, limit, allow_uncertified
    steps = len(seconds) * (1 + len(loaded.audio_artefacts))
    with progress("Benchmark", steps) as bar:
        report = measure_lengths(loaded, checkpoint, seconds, *about, bar.advance)
    publish(report, output, as_json)


@commands.command("drop-in")
def drop_in(
    bundle: OwnBundle,
    checkpoint: Source,
    official: Annotated[
        str,
        typer.Option(help="A Python in whose environment the official package muq is installed."),
    ],
    seconds: Annotated[
        float, typer.Option(min=_LEAST_SECONDS, max=_MOST_SECONDS, help="Length of the song.")
    ] = 144.0,
    level: Annotated[int, typer.Option(min=0, help="The hidden state to ask for.")] = 6,
    artefact: Annotated[
        list[str] | None,
        typer.Option(help="An artefact to measure; all fp32 and int8 ONNX ones by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 1,
    threads: Threads = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a script that uses the package muq on muqrt.drop_in, against the package."""
    import_extra("bench", "onnx", "psutil", "torch")
    from ...benchmarks.drop_in import measure_drop_in
    from ...runtime.bundle.manifest import load_bundle

    check_output(output)
    loaded, names = load_bundle(bundle), artefact or []
    about = level, threads or os.cpu_count() or 1, rounds, names
    with progress("Benchmark", None) as bar:
        report = measure_drop_in(loaded, checkpoint, official, seconds, *about, bar.advance)
    publish(report, output, as_json)


def _seconds(text: str) -> list[float]:
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(_LEAST_SECONDS <= each <= _MOST_SECONDS for each in found):
        raise UsageError(
            f"--windows {text!r}: give lengths of {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} seconds, "
            "such as 30,144."
        )
    return found


@commands.command()
def front(
    rounds: Annotated[
        int, typer.Option(min=3, help="Requests of each length and way after each start.")
    ] = 60,
    starts: Annotated[int, typer.Option(min=1, help="How often the processes are started.")] = 8,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure what the front before a server costs a request, against a bare relay."""
    import_extra("bench", "psutil")
    import_extra("server", "uvicorn", "httptools", "uvloop")
    from ...benchmarks.front import measure

    check_output(output)
    publish(measure(rounds, starts), output, as_json)


@commands.command()
def training(
    size: Annotated[str, typer.Option(help="Model: mini, tiny or a config.json's path.")] = "mini",
    batch_size: Annotated[int, typer.Option(min=2, help="Crops in a step.")] = 12,
    crop_seconds: Annotated[float, typer.Option(min=0.4, help="Length of a crop.")] = 5.0,
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16; the mel in float32.")] = False,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="How often each contender runs.")] = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure a step of pre-training on a CPU."""
    import_extra("bench", "psutil", "torch")
    from ...benchmarks.training import Step, run
    from ..train.options import muq_config

    check_output(output)
    step = Step(muq_config(size), batch_size, crop_seconds, bf16, threads or os.cpu_count() or 1)
    publish(run(step, rounds), output, as_json)


@commands.command()
def gpu(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Name of the results, without suffix.", metavar="NAME"),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint folder; default: random weights of the released size."),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for the bundle, the logs and the timing cache.")
    ] = Path("build/gpu"),
    as_json: Json = False,
) -> None:
    """Test, build, prove and measure all that this GPU can run."""
    import torch

    from ...benchmarks.gpu import LOG, run_all, steps

    if not torch.cuda.is_available():
        raise UsageError(
            f"PyTorch {torch.__version__} finds no CUDA device. Check nvidia-smi, and that this is "
            "not PyTorch's CPU build."
        )
    work.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    bundle = work / "bundle"
    wanted = steps(checkpoint or work / "checkpoint", bundle, output)
    results = list(run_all(wanted, bundle, work))
    rows = [[each.step, each.outcome, f"{each.seconds:.0f}", each.reason] for each in results]
    failed = any(each.outcome == "failed" for each in results)
    show(
        as_json,
        [asdict(each) for each in results],
        Table("On the GPU", ("step", "outcome", "seconds", "reason"), rows),
        f"All errors: {work / LOG}." if failed else "",
    )
    if failed:
        raise typer.Exit(1)


def _cells(text: str) -> "list[Cell]":
    from ...benchmarks.measure.latency import Cell

    found = []
    for each in text.split(","):
        match = _CELL.fullmatch(each.strip())
        if not match:
            raise UsageError(f"--cells {each!r}: give a batch and seconds, such as 64x30.")
        found.append(Cell(float(match[2]), int(match[1])))
    return found
