"""What the benchmark of a model measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...runtime.bundle.manifest import Bundle
from ..measure.contenders import COMPILED, COMPILED_BF16
from ..measure.latency import Latency
from ..measure.report import Draw, Report, Section
from ..roofline.shares import Share
from . import tables
from .arithmetic import Arithmetic
from .chart import batches, draw, draw_parts, draw_throughput
from .cold_start import ColdStart
from .hops import HopTime
from .library import LibraryTime
from .operators import OperatorTime

# Share of the cores' time taken by other programs.
_QUIET_SHARE = 0.05
_LEAST_BATCHES = 3  # for a line


@dataclass(frozen=True, kw_only=True)
class ModelReport(Report):
    """One run of ``muqrt bench model``. What was not asked for is empty or None.

    Attributes:
        device: its name.
        threads: CPU threads of what was measured with one number of threads only.
        checkpoint, checkpoint_sha256: what the bundle was made from.
        artefacts: which were measured, and whether each is certified.
        unavailable: contenders that did not start, and why.
        size_bytes: each contender's files.
        latencies, cold_starts, operators, arithmetic, hops, library: what was measured.
        bounds: the latencies beside the bound of the GPU, where its figures are published.
    """

    device: str
    threads: int
    checkpoint: str
    checkpoint_sha256: str
    artefacts: list[dict[str, Any]]
    unavailable: dict[str, str]
    size_bytes: dict[str, int]
    latencies: list[Latency]
    cold_starts: list[ColdStart]
    operators: list[OperatorTime]
    arithmetic: Arithmetic | None
    hops: list[HopTime]
    library: list[LibraryTime]
    bounds: list[Share] = field(default_factory=list)

    def results(self) -> list[Section]:
        """Latency first, cold start, and whatever else was measured."""
        uncertified = {each["name"] for each in self.artefacts if not each["certified"]}
        marks = {name: f"{name} (NOT CERTIFIED)" for name in uncertified}
        found = [
            tables.latency(self.device, self.latencies, marks, self.bounds),
            tables.cold_start(self.cold_starts, self.size_bytes, marks),
        ]
        if self.hops:
            found.append(tables.live_stream(self.hops, marks))
        if self.library:
            found.append(tables.library(self.library, marks))
        if self.operators:
            precisions = {each["name"]: each["precision"] for each in self.artefacts}
            found += tables.operators(self.operators, self.arithmetic, precisions)
        if self.arithmetic is not None:
            found += tables.arithmetic(self.arithmetic)
        return found

    def remarks(self) -> list[str]:
        """What did not run, how long compiling took, and how busy the machine was."""
        notes = [f"{name}: not available: {reason}" for name, reason in self.unavailable.items()]
        for name in (COMPILED, COMPILED_BF16):
            seconds = [e.first_call_seconds for e in self.latencies if e.contender == name]
            if seconds:
                span = f"{min(seconds):.0f} to {max(seconds):.0f} s"
                notes.append(f"{name}: compiling took {span} for each input, not included.")
        shares = sorted(each.neighbours_share for each in self.latencies)
        busy = f"Other programs took {shares[0]:.0%} to {shares[-1]:.0%} of the cores' time"
        # Measured: a neighbour slows PyTorch's thread pool down far more than ONNX Runtime's.
        unfair = ", which slows some contenders more than others: measure again on a quiet machine."
        notes.append(busy + (unfair if shares[-1] > _QUIET_SHARE else "."))
        if any(not each.matches for each in self.latencies):
            notes.append("* this contender's answer is NOT the reference's within its precision.")
        return notes

    def details(self) -> list[Section]:
        """Which artefacts were measured."""
        rows = [[str(value) for value in facts.values()] for facts in self.artefacts]
        source = f"Checkpoint {self.checkpoint}, SHA-256 `{self.checkpoint_sha256}`."
        return [Section("What was measured", list(self.artefacts[0]), rows, source)]

    def charts(self) -> Mapping[str, Draw]:
        """Latencies; throughput, of three batch sizes or more; and where the time goes."""
        found: dict[str, Draw] = {"": partial(draw, self.results()[0].title, self.latencies)}
        batched = batches(self.latencies)
        if len({each.batch for each in batched}) >= _LEAST_BATCHES:
            title = f"Throughput on {self.device}"
            found["-throughput"] = partial(draw_throughput, title, batched)
        if self.operators:
            found["-parts"] = partial(draw_parts, "Where the time goes", self.operators)
        return found


def artefact_facts(bundle: Bundle) -> list[dict[str, Any]]:
    """Which artefacts were measured, and whether each is certified."""
    return [
        {
            "name": artefact.name,
            "engine": artefact.engine,
            "precision": artefact.precision,
            "level": artefact.level,
            "sha256": artefact.digest,
            "certified": artefact.certified,
        }
        for artefact in bundle.audio_artefacts
    ]
