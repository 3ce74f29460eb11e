"""A benchmark from plan to report: fresh processes first, then the contenders by turns."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...common.environment import hardware_name
from ...errors import BundleError
from ...export.graph.saving import save_onnx
from ...export.onnx_from_checkpoint import onnx_from_checkpoint
from ...export.sources.checkpoint import load_source, require_source
from ...reference.checkpoint import Checkpoint
from ..measure.contenders import (
    PLAIN_ONNX,
    Contender,
    cold_compiler,
    compiled,
    eager,
    from_artefact,
    hidden_states,
    plain_onnx,
)
from ..measure.latency import Cell, Latency, measure_cell, music
from ..measure.report import without_folders
from ..measure.timing import EAGER
from ..roofline.gpus import gpu_of_driver
from ..roofline.shares import Share, shares
from .arithmetic import Arithmetic, Rate, measure_peaks, multiply_adds, rates
from .cold_start import WINDOW_SECONDS, ColdStart, ColdStartRequest, measure_cold_starts
from .hops import HopTime, measure_hops
from .instruction_sets import InstructionSetRate, measure_instruction_sets
from .library import (
    PIECE_SECONDS,
    WHOLE_SONGS,
    LibraryTime,
    measure_library,
    muqrt_embed,
    official_loop,
    write_songs,
)
from .operators import OperatorTime, profile
from .plan import BenchmarkPlan
from .report import ModelReport, artefact_facts
from .tables import SHARE_OF_BOUND

OnStep = Callable[[str], None]


def run(plan: BenchmarkPlan, on_step: OnStep) -> ModelReport:
    """Measure everything in the plan; ``on_step`` is called ``plan.steps`` times."""
    checkpoint = load_source(plan.checkpoint)
    require_source(plan.bundle, checkpoint)
    peaks: dict[str, float] = {}
    sets: list[InstructionSetRate] = []
    if plan.counted:
        peaks = measure_peaks(plan.threads, plan.device)
        on_step("peaks")
        if plan.device == "cpu":
            sets = measure_instruction_sets(plan.threads, on_step)
    unavailable = dict(plan.unavailable)
    with tempfile.TemporaryDirectory() as folder:
        files = _plain_graph(plan, checkpoint, Path(folder))
        cold_starts = _cold_starts(plan, files[0], on_step)
        latencies: list[Latency] = []
        checkpoint.model.to(plan.device)
        for threads in sorted(plan.cells, reverse=True):
            latencies += _latencies(plan, threads, checkpoint, files[0], unavailable, on_step)
        checkpoint.model.cpu()
        sizes = _sizes(plan, checkpoint, files)
    return ModelReport(
        device=hardware_name(plan.device),
        threads=plan.threads,
        checkpoint=without_folders([checkpoint.name])[0],
        checkpoint_sha256=checkpoint.sha256,
        artefacts=artefact_facts(plan.bundle),
        unavailable=unavailable,
        size_bytes=sizes,
        latencies=latencies,
        cold_starts=cold_starts,
        operators=_operators(plan, on_step),
        arithmetic=_arithmetic(plan, checkpoint, peaks, sets, latencies) if plan.counted else None,
        bounds=_bounds(plan, latencies, unavailable),
        hops=_hops(plan, checkpoint, on_step) if plan.hops else [],
        library=_library(plan, checkpoint, on_step) if plan.songs else [],
    )


def _plain_graph(plan: BenchmarkPlan, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Write the reference as the plainest ONNX graph; return its files."""
    model = checkpoint.model
    graph = onnx_from_checkpoint(model, ["features"], _level(plan), target="any")
    return save_onnx(graph, folder / "plain.onnx")


def _level(plan: BenchmarkPlan) -> int:
    return max(artefact.level for artefact in plan.artefacts)


def _cold_starts(plan: BenchmarkPlan, graph: Path, on_step: OnStep) -> list[ColdStart]:
    waveform, threads = str(graph.with_name("waveform.npy")), plan.threads
    np.save(waveform, music(Cell(WINDOW_SECONDS, 1)))
    sources = {EAGER: {"checkpoint": plan.checkpoint}}
    if plan.plain_onnx:
        sources[PLAIN_ONNX] = {"graph": str(graph)}
    for each in plan.artefacts:
        sources[each.name] = {"bundle": str(plan.bundle.folder), "artefact": each.name}
    requests = [
        ColdStartRequest(name, waveform, threads, plan.device, **source)
        for name, source in sources.items()
    ]
    return measure_cold_starts(requests, lambda name: on_step(f"cold start: {name}"))


def _latencies(
    plan: BenchmarkPlan,
    threads: int,
    checkpoint: Checkpoint,
    graph: Path,
    unavailable: dict[str, str],
    on_step: OnStep,
) -> list[Latency]:
    """Every input with this many threads. The contenders are loaded all at once, and freed."""
    model = checkpoint.model
    first = eager(model, threads)
    others = [plain_onnx(graph, _level(plan), threads, plan.device)] if plan.plain_onnx else []
    others += [from_artefact(plan.bundle, each, threads, plan.device) for each in plan.artefacts]
    found: list[Latency] = []
    # What was compiled for another number of threads must not be found either.
    with cold_compiler():
        for cell in plan.cells[threads]:
            compilers: list[Contender] = []
            if cell in plan.compiled:
                torch.compiler.reset()
                compilers = [compiled(model, threads), compiled(model, threads, "bf16")]
            usable = [each for each in compilers if each.name not in unavailable]
            contenders = [first, *usable, *others]
            found += measure_cell(
                cell,
                threads,
                contenders,
                hidden_states(model, music(cell)),
                plan.rounds,
                unavailable,
                plan.allow_uncertified,
            )
            on_step(f"{cell}, threads: {threads}")
    return found


def _operators(plan: BenchmarkPlan, on_step: OnStep) -> list[OperatorTime]:
    found: list[OperatorTime] = []
    for artefact in plan.profiled:
        found += profile(plan.bundle, artefact, plan.threads, music(plan.base))
        on_step(f"profile: {artefact.name}")
    return found


def _arithmetic(
    plan: BenchmarkPlan,
    checkpoint: Checkpoint,
    peaks: dict[str, float],
    sets: list[InstructionSetRate],
    latencies: list[Latency],
) -> Arithmetic:
    config, level, base = checkpoint.model.config, _level(plan), plan.base
    found: list[Rate] = []
    for cell in plan.counted:
        here = [each for each in latencies if (each.cell, each.threads) == (cell, plan.threads)]
        found += rates(multiply_adds(config, cell, level), peaks, here, sets)
    work = multiply_adds(config, base, level)
    return Arithmetic(base.window_seconds, base.batch, plan.threads, work, peaks, found, sets)


def _bounds(
    plan: BenchmarkPlan, latencies: list[Latency], unavailable: dict[str, str]
) -> list[Share]:
    """The latencies beside what the GPU could do at best, if its figures are published."""
    gpu = gpu_of_driver(hardware_name(plan.device)) if plan.device == "cuda" else None
    if gpu is None:
        return []
    try:
        return shares(plan.bundle, latencies, gpu)
    except BundleError as error:  # after so much measuring not worth failing for
        unavailable[SHARE_OF_BOUND] = str(error)
        return []


def _hops(plan: BenchmarkPlan, checkpoint: Checkpoint, on_step: OnStep) -> list[HopTime]:
    found: list[HopTime] = []
    for threads in sorted(plan.cells, reverse=True):
        found += measure_hops(
            checkpoint.model,
            plan.bundle,
            plan.artefacts,
            threads,
            plan.hops,
            plan.allow_uncertified,
        )
        on_step(f"live stream, threads: {threads}")
    return found


def _library(plan: BenchmarkPlan, checkpoint: Checkpoint, on_step: OnStep) -> list[LibraryTime]:
    official = partial(official_loop, checkpoint.model, _level(plan), plan.threads)
    embeds = {EAGER: official(PIECE_SECONDS), WHOLE_SONGS: official(None)}
    for artefact in plan.artefacts:
        embeds[artefact.name] = muqrt_embed(plan.bundle, artefact, plan.threads)
    with tempfile.TemporaryDirectory() as folder:
        return measure_library(embeds, write_songs(Path(folder), plan.songs), on_step)


def _sizes(plan: BenchmarkPlan, checkpoint: Checkpoint, files: list[Path]) -> dict[str, int]:
    """Bytes of each contender's weights or files."""
    sizes = {
        EAGER: sum(tensor.nbytes for tensor in checkpoint.model.state_dict().values()),
        PLAIN_ONNX: sum(path.stat().st_size for path in files),
    }
    for artefact in plan.artefacts:
        sizes[artefact.name] = plan.bundle.size_bytes(artefact)
    return sizes
