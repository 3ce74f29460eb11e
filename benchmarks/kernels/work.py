"""The bytes and operations that the log-mel and Mel-RVQ operations need at least."""

from dataclasses import dataclass

from ...kernels.log_mel.contract import HOP_SAMPLES, MELS, SAMPLE_RATE_HZ
from ..measure.latency import Cell

FLOAT_BYTES = 4
TOKEN_BYTES = 4
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
