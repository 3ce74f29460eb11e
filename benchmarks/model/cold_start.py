"""Cold start and peak memory, each in a fresh process of its own.

The process loads one contender, answers one window and prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ...common.process.fresh import fresh_process
from ...common.process.resident import peak_rss_bytes

if TYPE_CHECKING:
    from ..measure.contenders import States

WINDOW_SECONDS = 10.0
# The first one may have to read the weights from the disk; the median does not.
STARTS = 3


@dataclass(frozen=True)
class ColdStartRequest:
    """What a fresh process loads: the checkpoint eagerly, the plain ONNX graph in a file, or a
    bundle's artefact; and the file of the waveform it answers."""

    contender: str
    waveform: str
    threads: int
    device: str = "cpu"
    checkpoint: str | None = None
    graph: str | None = None
    bundle: str | None = None
    artefact: str | None = None


@dataclass(frozen=True, kw_only=True)
class Start:
    """One fresh process. ``load_seconds`` includes imports and the check of the file's hash;
    ``device_bytes`` is the GPU memory in use afterwards, other programs' included."""

    cold_start_seconds: float
    load_seconds: float
    first_answer_seconds: float
    peak_rss_bytes: int
    device_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ColdStart(Start):
    """A contender's starts: medians of the times, the largest memory, every start as measured."""

    contender: str
    starts: list[Start]


def measure_cold_starts(
    requests: Sequence[ColdStartRequest], on_step: Callable[[str], None]
) -> list[ColdStart]:
    """Start every contender ``STARTS`` times, by turns; ``on_step`` is called after each start.

    Raises:
        SessionError: a fresh process failed; the message holds its last line.
    """
    starts: dict[str, list[Start]] = {request.contender: [] for request in requests}
    for _ in range(STARTS):
        for request in requests:
            starts[request.contender].append(_start(request))
            on_step(request.contender)
    return [_summary(contender, found) for contender, found in starts.items()]


def _summary(contender: str, starts: list[Start]) -> ColdStart:
    held = [each.device_bytes for each in starts if each.device_bytes is not None]
    return ColdStart(
        contender=contender,
        cold_start_seconds=median(each.cold_start_seconds for each in starts),
        load_seconds=median(each.load_seconds for each in starts),
        first_answer_seconds=median(each.first_answer_seconds for each in starts),
        peak_rss_bytes=max(each.peak_rss_bytes for each in starts),
        device_bytes=max(held, default=None),
        starts=starts,
    )


def _start(request: ColdStartRequest) -> Start:
    module = "muqrt.benchmarks.model.cold_start"
    seconds, facts = fresh_process(module, request.contender, asdict(request))
    return Start(cold_start_seconds=seconds, **facts)


def device_bytes() -> int:
    """Memory in use on the current CUDA device."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


def load(request: ColdStartRequest) -> Callable[[np.ndarray], "States"]:
    """Load what a request names; returns what answers a waveform."""
    from ..measure import contenders

    if request.checkpoint is not None:
        from ...export.sources.checkpoint import load_source

        model = load_source(request.checkpoint).model.to(request.device)
        return contenders.eager(model, request.threads).run
    if request.graph is not None:
        return contenders.plain_onnx(Path(request.graph), 0, request.threads, request.device).run
    from ...runtime.bundle.manifest import load_bundle

    assert request.bundle is not None
    bundle = load_bundle(request.bundle)
    artefact = bundle.artefact(request.artefact, allow_uncertified=True)
    return contenders.from_artefact(bundle, artefact, request.threads, request.device).run


def _main() -> None:
    request = ColdStartRequest(**json.loads(sys.argv[1]))
    waveform = np.load(request.waveform)
    begin = time.perf_counter()
    run = load(request)
    loaded = time.perf_counter()
    run(waveform)
    answered = time.perf_counter()
    facts = {
        "load_seconds": loaded - begin,
        "first_answer_seconds": answered - loaded,
        "peak_rss_bytes": peak_rss_bytes(),
        "device_bytes": None if request.device == "cpu" else device_bytes(),
    }
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    _main()
