"""LogMel and MelRvq, measured by turns against PyTorch on the same music."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from ...common.console import Bar
from ...common.environment import environment
from ...errors import ParityError
from ...export.graph.rvq import folded_tables
from ...export.parity.tokens import equal_tokens
from ...export.sources.rvq import TokenRvq
from ...reference.muq import MuQ
from ...runtime.bundle.certificate import THRESHOLDS
from ..measure.contenders import EAGER, cold_compiler
from ..measure.latency import Cell, music
from ..measure.neighbours import watch_neighbours
from ..measure.timing import Stopwatch, by_turns, cuda_stopwatch, ratios, spread, stopwatch
from .ceilings import Ceilings, measure_ceilings
from .contenders import (
    FUSED,
    Contender,
    EagerRvq,
    log_mel_contender,
    mel_rvq_contender,
    torch_contenders,
)
from .cuda import encoder_seconds, launches
from .work import Work, log_mel_work, mel_rvq_work

LOG_MEL = "log-mel"
MEL_RVQ = "Mel-RVQ"
_CELL_SECONDS = 30.0  # of measuring


@dataclass(frozen=True)
class Measurement:
    """One contender on one operation and input.

    ``speedup`` is the median over the rounds of eager's seconds over this contender's.
    ``agreement`` is the share of tokens that are the reference's, as the parity gate counts, or the
    relative L2 distance from eager's log-mel. Of the fused kernels alone: ``share_of_floor`` is the
    least time that their bytes and operations take on this device, over the median, and
    ``launches`` counts kernels of a call.
    """

    operation: str
    contender: str
    window_seconds: float
    batch: int
    samples_seconds: list[float]
    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    speedup: float
    bytes: int
    flops: int
    agreement: float
    neighbours_share: float
    share_of_floor: float | None
    launches: int | None


@dataclass(frozen=True)
class KernelReport:
    """One run; its fields are its JSON.

    ``encoder_seconds`` is, on a GPU, what the full-size encoder takes for each cell.
    """

    created: str
    command: str
    device: str
    threads: int
    environment: dict[str, str]
    ceilings: Ceilings
    measurements: list[Measurement]
    encoder_seconds: dict[str, float]


@dataclass(frozen=True)
class _Operation:
    name: str
    contenders: Sequence[Contender]
    input: Callable[[Cell], Tensor]
    work: Callable[[Cell], Work]
    agreement: Callable[[Tensor, Tensor, Tensor], float]  # of the input, an answer and eager's
    agrees: Callable[[float], bool]


def run(
    model: MuQ,
    rvq: TokenRvq,
    cells: Sequence[Cell],
    device: str,
    rounds: int,
    compiles: bool,
    bar: Bar,
) -> KernelReport:
    """Measure both operations on every cell, moving the bar once for each.

    Args:
        model: whose mel and tokenizer are computed.
        rvq: its tokenizer.
        cells: the inputs.
        device: "cpu" or "cuda".
        rounds: of each contender.
        compiles: measure torch.compile too.
        bar: moves twice a cell.

    Raises:
        ParityError: an answer is not eager's.
    """
    clock: Stopwatch = cuda_stopwatch if device == "cuda" else stopwatch
    ceilings = measure_ceilings(device, clock)
    found: list[Measurement] = []
    with cold_compiler(), torch.inference_mode():
        for operation in _operations(model, rvq, device, compiles):
            for cell in cells:
                found += _measure(operation, cell, rounds, clock, ceilings)
                bar.advance(f"{operation.name}, {cell}")
        encoder = {str(cell): encoder_seconds(cell) for cell in cells} if device == "cuda" else {}
    return KernelReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        device=torch.cuda.get_device_name() if device == "cuda" else environment()["cpu"],
        threads=torch.get_num_threads(),
        environment=environment(),
        ceilings=ceilings,
        measurements=found,
        encoder_seconds=encoder,
    )


def _operations(model: MuQ, rvq: TokenRvq, device: str, compiles: bool) -> list[_Operation]:
    threads = torch.get_num_threads()
    mel = model.model.preprocessor_melspec_2048.to(device).eval()
    tokenizer = EagerRvq(rvq.rvq, rvq.frames_per_step).to(device).eval()
    stages, codes, width = folded_tables(rvq).codebooks.shape
    fp32 = THRESHOLDS["fp32"]

    def waveform(cell: Cell) -> Tensor:
        return torch.from_numpy(music(cell)).to(device)

    return [
        _Operation(
            LOG_MEL,
            [*torch_contenders(mel, compiles), log_mel_contender(mel, device, threads)],
            waveform,
            log_mel_work,
            lambda x, ours, eager: float((ours - eager).norm() / eager.norm()),
            lambda distance: distance <= fp32.relative_l2,
        ),
        _Operation(
            MEL_RVQ,
            [
                *torch_contenders(tokenizer, compiles),
                mel_rvq_contender(rvq, device, threads),
            ],
            lambda cell: mel(waveform(cell)),
            lambda cell: mel_rvq_work(cell, stages, codes, width, rvq.frames_per_step),
            lambda x, ours, eager: equal_tokens(rvq.rvq, rvq.input(x, []), ours.cpu().numpy()),
            lambda share: share >= fp32.equal_tokens,
        ),
    ]


def _measure(
    operation: _Operation, cell: Cell, rounds: int, clock: Stopwatch, ceilings: Ceilings
) -> list[Measurement]:
    x = operation.input(cell)
    torch.compiler.reset()
    runs = {each.name: lambda each=each: each.run(x) for each in operation.contenders}
    answers = {name: run() for name, run in runs.items()}
    agreements = {
        name: operation.agreement(x, answer, answers[EAGER]) for name, answer in answers.items()
    }
    for name, agreement in agreements.items():
        if not operation.agrees(agreement):
            raise ParityError(
                f"{name} on {cell}: not eager's {operation.name} ({agreement:.3g}), so its speed "
                "is not reported."
            )
    busy = watch_neighbours()
    samples = by_turns(runs, rounds, _CELL_SECONDS, clock)
    share = busy()
    work = operation.work(cell)
    found = []
    for name, run in runs.items():
        seconds = spread(samples[name])
        fused = name == FUSED
        measurement = Measurement(
            operation=operation.name,
            contender=name,
            window_seconds=cell.window_seconds,
            batch=cell.batch,
            samples_seconds=samples[name],
            median_seconds=seconds.median,
            p10_seconds=seconds.p10,
            p90_seconds=seconds.p90,
            speedup=spread(ratios(samples[EAGER], samples[name])).median,
            bytes=work.bytes,
            flops=work.flops,
            agreement=agreements[name],
            neighbours_share=share,
            share_of_floor=ceilings.floor_seconds(work) / seconds.median if fused else None,
            launches=launches(run) if fused else None,
        )
        found.append(measurement)
    return found
