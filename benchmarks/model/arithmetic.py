"""How much a model computes, and how much of the machine's arithmetic that takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ...export.graph.writer import RUNTIME_DOMAIN, Graph
from ...kernels.log_mel.contract import HOP_SAMPLES, SAMPLE_RATE_HZ
from ...reference.config import MuQConfig
from ...runtime.bundle.record import TensorSpec
from ..measure.contenders import onnx_session
from ..measure.latency import Cell, Latency
from ..measure.parts import ATTENTION, CONVOLUTION, FEED_FORWARD, FRONT_END
from ..measure.timing import MATRIX_WIDTH, Run, cuda_stopwatch, measure_rates, stopwatch
from .instruction_sets import InstructionSetRate

_TAPS = 9  # of a 3x3 kernel
# The image of the front end's largest convolution, a quarter of 10 s of it.
_CHANNELS, _ROWS, _COLUMNS = 512, 64, 125
CONVOLVED = "fp32 3x3 convolution"


@dataclass(frozen=True)
class Rate:
    """The rate of a contender, in the operations that ``multiply_adds`` counts.

    ``share_of_peak`` is of the highest rate measured of a product of matrices of the same
    precision, None where none was measured. More than 1 is no mistake: Winograd's convolutions need
    fewer operations than are counted.
    """

    contender: str
    window_seconds: float
    batch: int
    seconds: float
    flops_per_second: float
    share_of_peak: float | None


@dataclass(frozen=True)
class Arithmetic:
    """The work for one input, the machine's highest rates, and the contenders' rates.

    ``multiply_adds`` are by part of the model, ``peaks`` in operations a second.
    ``instruction_sets`` are the same for each instruction set of a CPU.
    """

    window_seconds: float
    batch: int
    threads: int
    multiply_adds: dict[str, int]
    peaks_flops_per_second: dict[str, float]
    rates: list[Rate]
    instruction_sets: list[InstructionSetRate] = field(default_factory=list)

    def peak(self, precision: str) -> float | None:
        """The highest rate measured of a product of matrices in a precision; None without one."""
        return highest(self.peaks_flops_per_second, self.instruction_sets, precision)


def multiply_adds(config: MuQConfig, cell: Cell, level: int | None = None) -> dict[str, int]:
    """Multiply-adds of the matrix products and convolutions, by part of the model.

    The mel, less than a thousandth, is not counted, nor are norms, activations and sums.

    Args:
        config: the architecture.
        cell: the input.
        level: the deepest hidden state computed, the last layer's when left out.
    """
    frames = round(cell.window_seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES
    columns = -(-frames // 2)
    steps = -(-columns // (config.frames_per_step // 2))
    channels, width = config.conv_dim, config.encoder_dim
    first, second = config.n_mels // 2 * columns, config.n_mels // 4 * steps
    # Of a block's three convolutions the first and the shortcut read its input.
    blocks = first * (2 + channels) * channels + second * 3 * channels**2
    linear = steps * channels * (config.n_mels // 4) * width
    layers = config.encoder_depth if level is None else level
    projections = 4 * steps * width**2
    scores_and_values = 2 * steps**2 * width
    feed_forwards = 2 * 2 * steps * width * config.conformer.intermediate_size
    pointwise = (2 + 1) * steps * width**2
    depthwise = steps * width * config.conformer.conv_depthwise_kernel_size
    return {
        FRONT_END: cell.batch * (_TAPS * blocks + linear),
        ATTENTION: cell.batch * layers * (projections + scores_and_values),
        FEED_FORWARD: cell.batch * layers * feed_forwards,
        CONVOLUTION: cell.batch * layers * (pointwise + depthwise),
    }


def measure_peaks(threads: int, device: str = "cpu") -> dict[str, float]:
    """Operations a second of large products of matrices, by precision, and of a convolution, on
    "cpu" or "cuda" (where fp32 is without TF32, as PyTorch's default is)."""
    torch.set_num_threads(threads)
    width = MATRIX_WIDTH[device]
    product = 2.0 * width**3
    convolution = 2.0 * _ROWS * _COLUMNS * _TAPS * _CHANNELS**2
    image = torch.randn(1, _CHANNELS, _ROWS, _COLUMNS, device=device)
    kernel = torch.randn(_CHANNELS, _CHANNELS, 3, 3, device=device)
    work: dict[str, tuple[Run, float]] = {
        _product("fp32"): (_torch_product(torch.float32, width, device), product),
        CONVOLVED: (lambda: torch.conv2d(image, kernel, padding=1), convolution),
        _product("bf16"): (_torch_product(torch.bfloat16, width, device), product),
    }
    if device == "cpu":
        work[_product("int8")] = _int8_product(threads, width), product
    else:
        work[_product("fp16")] = _torch_product(torch.float16, width, device), product
    with torch.inference_mode():
        return measure_rates(work, stopwatch if device == "cpu" else cuda_stopwatch)


def highest(
    peaks: Mapping[str, float], sets: Sequence[InstructionSetRate], precision: str
) -> float | None:
    """The highest rate of a product of matrices in a precision: a library that stays below another
    is no limit of the machine. None where none was measured."""
    found = [each.flops_per_second for each in sets if each.precision == precision]
    if _product(precision) in peaks:
        found.append(peaks[_product(precision)])
    return max(found, default=None)


def rates(
    work: dict[str, int],
    peaks: Mapping[str, float],
    latencies: Sequence[Latency],
    sets: Sequence[InstructionSetRate] = (),
) -> list[Rate]:
    """The contenders' rates by their median seconds for this work."""
    found = []
    for each in latencies:
        rate = 2 * sum(work.values()) / each.median_seconds
        peak = highest(peaks, sets, each.precision)
        share = rate / peak if peak is not None else None
        found.append(
            Rate(each.contender, each.window_seconds, each.batch, each.median_seconds, rate, share)
        )
    return found


def _product(precision: str) -> str:
    return f"{precision} product of matrices"


def _torch_product(dtype: torch.dtype, width: int, device: str) -> Run:
    a, b = torch.randn(2, width, width, device=device).to(dtype)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def _int8_product(threads: int, width: int) -> Run:
    """A product of unsigned bytes and constant signed ones, to floats, in ONNX Runtime."""
    a = torch.randint(0, 256, (width, width), dtype=torch.uint8).numpy()
    b = torch.randint(-64, 64, (width, width), dtype=torch.int8).numpy()
    graph = Graph()
    scale = graph.constant(1e-2, np.float32)
    factors = "a", graph.raw("b", b), scale, scale
    graph.rename(graph.op("MatMulIntegerToFloat", *factors, domain=RUNTIME_DOMAIN), "y")
    shape: list[int | str] = [width, width]
    given = TensorSpec(name="a", dtype="uint8", shape=shape)
    model = graph.model([given], [TensorSpec(name="y", dtype="float32", shape=shape)])
    session = onnx_session(model.SerializeToString(), threads)
    return lambda: session.run(None, {"a": a})
