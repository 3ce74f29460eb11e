"""The highest rates of a device, measured: bytes and operations a second."""

from dataclasses import dataclass

import torch

from ..measure.rates import MATRIX_WIDTH, measure_rates
from ..measure.timing import Stopwatch
from .work import Work

_COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
_TF32_PRODUCTS = 3  # for one of float32 accuracy


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
