"""On a GPU alone: how many kernels a call launches, and how long the encoder takes."""

import torch
from torch.profiler import ProfilerActivity, profile

from ...reference.random_model import LARGE, random_model
from ..measure.latency import Cell
from ..measure.timing import Run, by_turns, cuda_stopwatch, spread
from .work import frames_of

_ROWS = 8  # more would not fit every GPU's memory; rows take equally long
_ROUNDS = 5
_BUDGET_SECONDS = 20.0


def launches(run: Run) -> int:
    """Kernels that one call starts, copies and fills of memory not counted."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        run()
        torch.cuda.synchronize()
    kernels = [each for each in recorded.events() if each.device_type.name == "CUDA"]
    return sum(not each.name.startswith(("Memcpy", "Memset")) for each in kernels)


def encoder_seconds(cell: Cell) -> float:
    """Seconds of the full-size model without mel and tokenizer, PyTorch eager in float16, on
    log-mels of this shape: measured on up to 8 rows, and scaled to the others."""
    model = random_model(LARGE).model.half().cuda().eval()
    rows = min(cell.batch, _ROWS)
    log_mel = torch.randn(
        rows, LARGE.n_mels, frames_of(cell) // cell.batch, device="cuda", dtype=torch.float16
    )

    def run() -> None:
        model.conformer(model.conv(log_mel))

    run()
    samples = by_turns({"encoder": run}, _ROUNDS, _BUDGET_SECONDS, cuda_stopwatch)
    return spread(samples["encoder"]).median * cell.batch / rows
