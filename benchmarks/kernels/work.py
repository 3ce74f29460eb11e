"""The least bytes and operations of the log-mel and the Mel-RVQ, and a device's highest rates."""

from dataclasses import dataclass

import torch

from ...kernels.log_mel.contract import HOP_SAMPLES, MELS, SAMPLE_RATE_HZ
from ..measure.latency import Cell
from ..measure.timing import MATRIX_WIDTH, Stopwatch, measure_rates

FLOAT_BYTES = 4
TOKEN_BYTES = 4
_COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
_TF32_PRODUCTS = 3  # for one of float32 accuracy
POINTS = 32  # of each of the two stages of a 1024-point DFT


@dataclass(frozen=True)
class Work:
    """The least work of one call.

    Attributes:
        bytes: every input read once and every output written once, tables included.
        flops: floating-point operations of the fused kernel's matrix products, a multiplication
            and an addition each, counted once for fp32 accuracy.
    """

    bytes: int
    flops: int


def frames_of(cell: Cell) -> int:
    """Mel frames in all rows."""
    return cell.batch * (round(cell.window_seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES)


def log_mel_work(cell: Cell) -> Work:
    """Waveform in, fp32 log-mel out. The transform is kernels/README.md's: two DFTs of 1024 real
    points in two stages, the first of real numbers, the second of complex ones for half the bins.
    """
    frames = frames_of(cell)
    first = 2 * 2 * POINTS**3
    second = 2 * 4 * POINTS * POINTS * (POINTS // 2)
    moved = frames * (HOP_SAMPLES + MELS) * FLOAT_BYTES
    return Work(moved, 2 * frames * (first + second))


def mel_rvq_work(
    cell: Cell, stages: int, codes: int, code_width: int, frames_per_step: int
) -> Work:
    """fp32 log-mel in, int32 tokens out: one projection, a search in each stage."""
    frames = frames_of(cell)
    steps = frames // frames_per_step
    latent = stages * code_width
    projection = latent * MELS * frames_per_step
    search = stages * codes * code_width
    tables = projection + search + stages * codes * latent
    moved = FLOAT_BYTES * (frames * MELS + tables) + TOKEN_BYTES * steps * stages
    return Work(moved, 2 * steps * (projection + search))


@dataclass(frozen=True)
class Ceilings:
    """The rates of a large copy, reads and writes counted, and of a large product of float32
    matrices (TF32 on a GPU)."""

    bytes_per_second: float
    flops_per_second: float

    def floor_seconds(self, work: Work) -> float:
        """About the fewest seconds that a fused kernel of this algorithm needs."""
        moving = work.bytes / self.bytes_per_second
        return max(moving, _TF32_PRODUCTS * work.flops / self.flops_per_second)


def measure_ceilings(device: str, stopwatch: Stopwatch) -> Ceilings:
    """Measure both on "cpu" or "cuda", with torch's threads."""
    source = torch.ones(_COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    width = MATRIX_WIDTH[device]
    a, b = torch.randn(2, width, width, device=device)
    product = torch.empty_like(a)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    work = {
        "copy": (lambda: target.copy_(source), 2.0 * _COPY_BYTES[device]),
        "matmul": (lambda: torch.mm(a, b, out=product), 2.0 * width**3),
    }
    rates = measure_rates(work, stopwatch)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return Ceilings(rates["copy"], rates["matmul"])
