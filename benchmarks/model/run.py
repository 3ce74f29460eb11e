"""A benchmark from plan to report: fresh processes first, then the contenders by turns."""

import shlex
import sys
import tempfile
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...common.console import Bar
from ...common.environment import device_name, environment
from ...export.onnx_from_checkpoint import onnx_from_checkpoint, save_onnx
from ...export.parity.gate import require_source
from ...export.sources.checkpoint import load_source
from ...reference.checkpoint import Checkpoint
from ..measure.contenders import (
    EAGER,
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
from .arithmetic import Arithmetic, Rate, measure_peaks, multiply_adds, rates
from .cold_start import WINDOW_SECONDS, ColdStart, ColdStartRequest, measure_cold_starts
from .hops import HopTime, measure_hops
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
from .results import ModelReport, artefact_facts


def run(plan: BenchmarkPlan, bar: Bar) -> ModelReport:
    """Measure everything in the plan, moving the bar once for each of its steps.

    Raises:
        CheckpointError: it is not the bundle's. ParityError: an answer is not the reference's.
    """
    checkpoint = load_source(plan.checkpoint)
    require_source(plan.bundle, checkpoint)
    peaks: dict[str, float] = {}
    if plan.counted:
        peaks = measure_peaks(plan.threads, plan.device)
        bar.advance("peaks")
    unavailable = dict(plan.unavailable)
    with tempfile.TemporaryDirectory() as folder:
        files = _plain_graph(plan, checkpoint, Path(folder))
        cold_starts = _cold_starts(plan, files[0], bar)
        latencies: list[Latency] = []
        checkpoint.model.to(plan.device)
        for threads in sorted(plan.cells, reverse=True):
            latencies += _latencies(plan, threads, checkpoint, files[0], unavailable, bar)
        checkpoint.model.cpu()
        sizes = _sizes(plan, checkpoint, files)
    return ModelReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=device_name(plan.device),
        price=plan.price,
        command=shlex.join(_without_folders(sys.argv)),
        threads=plan.threads,
        environment=environment(),
        checkpoint=_without_folders([checkpoint.name])[0],
        checkpoint_sha256=checkpoint.sha256,
        artefacts=artefact_facts(plan.bundle),
        unavailable=unavailable,
        size_bytes=sizes,
        latencies=latencies,
        cold_starts=cold_starts,
        operators=_operators(plan, bar),
        arithmetic=_arithmetic(plan, checkpoint, peaks, latencies) if plan.counted else None,
        hops=_hops(plan, checkpoint, bar) if plan.hops else [],
        library=_library(plan, checkpoint, bar) if plan.songs else [],
    )


def _plain_graph(plan: BenchmarkPlan, checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Files of the reference as the plainest ONNX graph; it is in memory only meanwhile."""
    model = checkpoint.model
    graph = onnx_from_checkpoint(model, ["features"], _level(plan), target="any")
    return save_onnx(graph, folder / "plain.onnx")


def _level(plan: BenchmarkPlan) -> int:
    return max(artefact.level for artefact in plan.artefacts)


def _cold_starts(plan: BenchmarkPlan, graph: Path, bar: Bar) -> list[ColdStart]:
    waveform, threads = str(graph.with_name("waveform.npy")), plan.threads
    np.save(waveform, music(Cell(WINDOW_SECONDS, 1)))
    requests = [
        ColdStartRequest(EAGER, waveform, threads, plan.device, checkpoint=plan.checkpoint),
    ]
    if plan.plain_onnx:
        requests.append(
            ColdStartRequest(PLAIN_ONNX, waveform, threads, plan.device, graph=str(graph))
        )
    bundle = str(plan.bundle.folder)
    requests += [
        ColdStartRequest(
            each.name, waveform, threads, plan.device, bundle=bundle, artefact=each.name
        )
        for each in plan.artefacts
    ]
    return measure_cold_starts(requests, lambda name: bar.advance(f"cold start: {name}"))


def _latencies(
    plan: BenchmarkPlan,
    threads: int,
    checkpoint: Checkpoint,
    graph: Path,
    unavailable: dict[str, str],
    bar: Bar,
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
            bar.advance(f"{cell}, threads: {threads}")
    return found


def _operators(plan: BenchmarkPlan, bar: Bar) -> list[OperatorTime]:
    found: list[OperatorTime] = []
    for artefact in plan.profiled:
        found += profile(plan.bundle, artefact, plan.threads, music(plan.base))
        bar.advance(f"profile: {artefact.name}")
    return found


def _arithmetic(
    plan: BenchmarkPlan, checkpoint: Checkpoint, peaks: dict[str, float], latencies: list[Latency]
) -> Arithmetic:
    config, level, base = checkpoint.model.config, _level(plan), plan.base
    found: list[Rate] = []
    for cell in plan.counted:
        here = [
            each
            for each in latencies
            if (Cell(each.window_seconds, each.batch), each.threads) == (cell, plan.threads)
        ]
        found += rates(multiply_adds(config, cell, level), peaks, here)
    work = multiply_adds(config, base, level)
    return Arithmetic(base.window_seconds, base.batch, plan.threads, work, peaks, found)


def _hops(plan: BenchmarkPlan, checkpoint: Checkpoint, bar: Bar) -> list[HopTime]:
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
        bar.advance(f"live stream, threads: {threads}")
    return found


def _library(plan: BenchmarkPlan, checkpoint: Checkpoint, bar: Bar) -> list[LibraryTime]:
    official = partial(official_loop, checkpoint.model, _level(plan), plan.threads)
    embeds = {EAGER: official(PIECE_SECONDS), WHOLE_SONGS: official(None)}
    for artefact in plan.artefacts:
        embeds[artefact.name] = muqrt_embed(plan.bundle, artefact, plan.threads)
    with tempfile.TemporaryDirectory() as folder:
        return measure_library(embeds, write_songs(Path(folder), plan.songs), bar.advance)


def _sizes(plan: BenchmarkPlan, checkpoint: Checkpoint, files: list[Path]) -> dict[str, int]:
    """Bytes of each contender's weights or files."""
    sizes = {
        EAGER: sum(tensor.nbytes for tensor in checkpoint.model.state_dict().values()),
        PLAIN_ONNX: sum(path.stat().st_size for path in files),
    }
    for artefact in plan.artefacts:
        sizes[artefact.name] = plan.bundle.size_bytes(artefact)
    return sizes


def _without_folders(arguments: list[str]) -> list[str]:
    """Absolute paths by their last names: where things lie here is nobody's business."""
    return [Path(each).name if Path(each).is_absolute() else each for each in arguments]
