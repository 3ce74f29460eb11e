"""A benchmark from plan to report: fresh processes first, then the contenders by turns."""

import shlex
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ..console import Bar
from ..environment import environment
from ..export.parity import require_source
from ..reference.checkpoint import Checkpoint, load_checkpoint
from .cold_start import WINDOW_SECONDS, ColdStart, Request, measure_cold_starts
from .contenders import EAGER, Contender, cold_compiler, compiled, eager, from_artefact
from .latency import Cell, Latency, measure_cell, music
from .plan import Plan
from .report import Report, artefact_facts


def run(plan: Plan, bar: Bar) -> Report:
    """Measure everything in the plan, moving the bar once for each of its steps.

    Raises:
        CheckpointError: it is not the bundle's. ParityError: an answer is not the reference's.
    """
    bundle = plan.bundle
    checkpoint = load_checkpoint(plan.checkpoint)
    require_source(bundle, checkpoint)
    cold_starts = _cold_starts(plan, bar)
    unavailable: dict[str, str] = {}
    latencies = _latencies(plan, checkpoint, unavailable, bar)
    return Report(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        threads=plan.threads,
        environment=environment(),
        checkpoint=checkpoint.name,
        checkpoint_sha256=checkpoint.sha256,
        artefacts=artefact_facts(bundle),
        unavailable=unavailable,
        size_bytes=_sizes(plan, checkpoint),
        latencies=latencies,
        cold_starts=cold_starts,
    )


def _cold_starts(plan: Plan, bar: Bar) -> list[ColdStart]:
    with tempfile.TemporaryDirectory() as folder:
        waveform = Path(folder) / "waveform.npy"
        np.save(waveform, music(Cell(WINDOW_SECONDS, 1)))
        requests = [Request(EAGER, str(waveform), plan.threads, checkpoint=plan.checkpoint)]
        requests += [
            Request(
                artefact.name,
                str(waveform),
                plan.threads,
                bundle=str(plan.bundle.folder),
                artefact=artefact.name,
            )
            for artefact in plan.bundle.artefacts
        ]
        return measure_cold_starts(requests, lambda name: bar.advance(f"cold start: {name}"))


def _latencies(
    plan: Plan, checkpoint: Checkpoint, unavailable: dict[str, str], bar: Bar
) -> list[Latency]:
    model, threads = checkpoint.model, plan.threads
    found: list[Latency] = []
    with ExitStack() as stack:
        always = [eager(model, threads)]
        sometimes: list[Contender] = []
        if plan.compile_batches:
            stack.enter_context(cold_compiler())
            sometimes.append(compiled(model, threads))
        always += [from_artefact(plan.bundle, each, threads) for each in plan.bundle.artefacts]
        for cell in plan.cells:
            compiles = cell.batch in plan.compile_batches and not unavailable
            contenders = [always[0], *(sometimes if compiles else []), *always[1:]]
            found += measure_cell(
                cell, contenders, plan.repeats, unavailable, plan.allow_uncertified
            )
            bar.advance(cell)
    return found


def _sizes(plan: Plan, checkpoint: Checkpoint) -> dict[str, int]:
    """Bytes of each contender's weights or files."""
    sizes = {EAGER: sum(tensor.nbytes for tensor in checkpoint.model.state_dict().values())}
    for artefact in plan.bundle.artefacts:
        sizes[artefact.name] = plan.bundle.size_bytes(artefact)
    return sizes
