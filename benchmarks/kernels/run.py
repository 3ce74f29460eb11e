"""The log-mel and Mel-RVQ operations, measured by turns against PyTorch on the same music."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ...common.environment import hardware_name
from ...errors import ParityError
from ...export.graph.rvq import folded_tables
from ...export.outputs.measuring import equal_tokens
from ...export.sources.rvq import TokenRvq
from ...reference.muq import MuQ
from ...reference.random_model import LARGE, random_model
from ...runtime.bundle.certificate import THRESHOLDS
from ..measure.contenders import cold_compiler
from ..measure.latency import Cell, music
from ..measure.neighbours import watch_neighbours
from ..measure.timing import (
    EAGER,
    Run,
    Stopwatch,
    by_turns,
    compare,
    cuda_stopwatch,
    spread,
    stopwatch,
)
from .contenders import (
    FUSED,
    Contender,
    EagerRvq,
    log_mel_contender,
    mel_rvq_contender,
    torch_contenders,
)
from .report import KernelReport, Measurement
from .work import Ceilings, Work, frames_of, log_mel_work, measure_ceilings, mel_rvq_work

LOG_MEL = "log-mel"
MEL_RVQ = "Mel-RVQ"
_CELL_SECONDS = 30.0  # of measuring
# For timing the encoder: more rows would not fit every GPU's memory, and take equally long.
_ENCODER_ROWS, _ENCODER_ROUNDS, _ENCODER_SECONDS = 8, 5, 20.0


@dataclass(frozen=True)
class _Operation:
    """``agreement`` compares an answer with eager's, given the input; ``agrees`` judges it."""

    name: str
    contenders: Sequence[Contender]
    input: Callable[[Cell], Tensor]
    work: Callable[[Cell], Work]
    agreement: Callable[[Tensor, Tensor, Tensor], float]  # (input, answer, eager's)
    agrees: Callable[[float], bool]


def run(
    model: MuQ,
    rvq: TokenRvq,
    cells: Sequence[Cell],
    device: str,
    rounds: int,
    compiles: bool,
    on_step: Callable[[str], None],
) -> KernelReport:
    """Measure both operations on every cell.

    Args:
        model: whose mel is computed.
        rvq: whose tokens are computed.
        cells: the inputs.
        device: "cpu" or "cuda".
        rounds: how many rounds to run.
        compiles: measure torch.compile too.
        on_step: called after each operation on each cell.
    """
    clock: Stopwatch = cuda_stopwatch if device == "cuda" else stopwatch
    ceilings = measure_ceilings(device, clock)
    found: list[Measurement] = []
    with cold_compiler(), torch.inference_mode():
        for operation in _operations(model, rvq, device, compiles):
            for cell in cells:
                found += _measure(operation, cell, rounds, clock, ceilings)
                on_step(f"{operation.name}, {cell}")
        encoder = {str(cell): _encoder_seconds(cell) for cell in cells} if device == "cuda" else {}
    return KernelReport(
        device=hardware_name(device),
        threads=torch.get_num_threads(),
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
            [*torch_contenders(tokenizer, compiles), mel_rvq_contender(rvq, device, threads)],
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
    runs = {each.name: partial(each.run, x) for each in operation.contenders}
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
    share = watch_neighbours()
    timings = compare(by_turns(runs, rounds, _CELL_SECONDS, clock))
    busy, work = share(), operation.work(cell)
    found = []
    for timing in timings:
        fused = timing.contender == FUSED
        floor = ceilings.floor_seconds(work) / timing.median_seconds
        measurement = Measurement(
            **vars(timing),
            operation=operation.name,
            window_seconds=cell.window_seconds,
            batch=cell.batch,
            bytes=work.bytes,
            flops=work.flops,
            agreement=agreements[timing.contender],
            neighbours_share=busy,
            share_of_floor=floor if fused else None,
            launches=_launches(runs[FUSED]) if fused else None,
        )
        found.append(measurement)
    return found


def _launches(run: Run) -> int:
    """Kernels that one call starts, copies and fills of memory not counted."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        run()
        torch.cuda.synchronize()
    kernels = [each for each in recorded.events() if each.device_type.name == "CUDA"]
    return sum(not each.name.startswith(("Memcpy", "Memset")) for each in kernels)


def _encoder_seconds(cell: Cell) -> float:
    """Seconds of the full-size model without mel and tokenizer, PyTorch eager in float16, on
    log-mels of this shape: measured on up to 8 rows, and scaled to the others."""
    model = random_model(LARGE).model.half().cuda().eval()
    rows = min(cell.batch, _ENCODER_ROWS)
    log_mel = torch.randn(
        rows, LARGE.n_mels, frames_of(cell) // cell.batch, device="cuda", dtype=torch.float16
    )

    def run() -> None:
        model.conformer(model.conv(log_mel))

    run()
    samples = by_turns({"encoder": run}, _ENCODER_ROUNDS, _ENCODER_SECONDS, cuda_stopwatch)
    return spread(samples["encoder"]).median * cell.batch / rows
