"""What a GPU could do at best, as tables."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...runtime.bundle.manifest import Bundle
from ..measure.report import Report, Section, without_folders
from .bound import Bound, bounds, total
from .choose import choose, counted_groups
from .gpus import Gpu
from .work import BYTES

# Batch 1 for the latency, the other for the throughput.
BATCHES = (1, 32)
NOT_MEASURED = (
    "A bound, not a measurement: arithmetic on the graph and on published figures. Engines are "
    "slower."
)
ASSUMPTIONS = (
    "Counted in the artefact's own graph: the operations of its matrix products and convolutions, "
    "and the bytes of weights and of results that pass between parts. Norms, activations, sums, "
    "launches, the host and copies to and from it cost nothing. Products run at the highest rate "
    "that NVIDIA publishes for dense ones (in float32 at a third of TF32's if that is more), and "
    "the memory at its published bandwidth. Groups, such as one layer's attention, run one after "
    "another, and each takes the longer of its arithmetic and its traffic. What a group computes "
    "for itself stays on the chip. So does what the L2 cache holds: that much of the weights from "
    "run to run, and of each result. A library that computes convolutions by Winograd needs fewer "
    "operations than are counted."
)


@dataclass(frozen=True)
class Cell:
    """The bounds for one batch, by part."""

    batch: int
    parts: list[Bound]

    @property
    def all(self) -> Bound:
        """Everything."""
        return total(self.parts)


@dataclass(frozen=True)
class Estimate:
    """One GPU and precision.

    Attributes:
        gpu: the GPU.
        artefact: whose graph was counted.
        precision: whose rates count.
        as_if: whether the graph is in float32, and was only counted as if in that precision.
        cells: by batch.
    """

    gpu: Gpu
    artefact: str
    precision: str
    as_if: bool
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class EstimateReport(Report):
    """One run of ``muqrt estimate``.

    Attributes:
        checkpoint: what the bundle was made from.
        window_seconds: of each window.
        estimates: by GPU and precision.
    """

    checkpoint: str
    window_seconds: float
    estimates: list[Estimate]

    def results(self) -> list[Section]:
        """Every GPU at a glance, then each by part."""
        return [self._overview(), *(self._parts(each) for each in self.estimates)]

    def remarks(self) -> list[str]:
        """That nothing was measured, and whose figures these are."""
        sources: dict[str, None] = {}
        for each in self.estimates:
            sources |= dict.fromkeys((each.gpu.source, each.gpu.l2_source))
        return [NOT_MEASURED, "Published figures: " + ", ".join(sources) + "."]

    def document(self) -> dict[str, Any]:
        """Everything, with totals and what bounds each part."""
        found = super().document()
        found |= {"is_measurement": False, "assumptions": ASSUMPTIONS}
        found["estimates"] = [
            {
                **asdict(each),
                "cells": [self._cell_document(cell) for cell in each.cells],
            }
            for each in self.estimates
        ]
        return found

    def _cell_document(self, cell: Cell) -> dict[str, Any]:
        return {
            "batch": cell.batch,
            "least_seconds": cell.all.seconds,
            "most_audio_seconds_per_second": self._throughput(cell),
            "bound_by": cell.all.by,
            "parts": [asdict(part) | {"bound_by": part.by} for part in cell.parts],
        }

    def _throughput(self, cell: Cell) -> float:
        return cell.batch * self.window_seconds / cell.all.seconds

    def _overview(self) -> Section:
        first, last = BATCHES
        columns = (
            *("GPU", "graph", "products in", f"batch {first}, ms", "bound by"),
            *(f"batch {last}, audio s / s", "bound by"),
        )
        rows = []
        for each in self.estimates:
            alone, batch = each.cells
            graph = f"{each.artefact}, as if" if each.as_if else each.artefact
            latency, throughput = (
                f"{alone.all.seconds * 1e3:.3g}",
                f"{self._throughput(batch):,.0f}",
            )
            row = [each.gpu.name, graph, each.precision, latency, alone.all.by]
            rows.append([*row, throughput, batch.all.by])
        windows = f"{self.window_seconds:g} s windows"
        title = f"Least latency and highest throughput, {windows}: a bound, not a measurement"
        return Section(title, columns, rows, ASSUMPTIONS)

    def _parts(self, found: Estimate) -> Section:
        columns = ["part", "GFLOP", "weights, MB"]
        for each in found.cells:
            columns += [f"batch {each.batch}, ms", "bound by"]
        wholes = [cell.all for cell in found.cells]
        rows = [_row(parts) for parts in zip(*(cell.parts for cell in found.cells), strict=True)]
        title = f"{found.gpu.name}, {found.precision}: the bound by part"
        return Section(title, columns, [*rows, _row(wholes)])


def _row(parts: Sequence[Bound]) -> list[str]:
    first = parts[0]
    work = [f"{sum(first.flops.values()) / 1e9:.3g}", f"{first.weight_bytes / 1e6:.3g}"]
    times = [cell for each in parts for cell in (f"{each.seconds * 1e3:.3g}", each.by)]
    return [first.part, *work, *times]


def estimate(
    bundle: Bundle,
    gpus: Sequence[Gpu],
    precisions: Sequence[str | None],
    artefact: str | None,
    window_seconds: float,
    on_step: Callable[[str], None] = lambda what: None,
) -> EstimateReport:
    """Bound every GPU in every precision; None is the artefact's own.

    ``on_step`` is called after each precision.

    Raises:
        UsageError: a precision that a GPU, or the named artefact, does not have.
        BundleError: the graph is missing, or has what cannot be counted.
    """
    found = []
    for precision in precisions:
        counted = choose(bundle, artefact, precision)
        for gpu in gpus if counted.precision in BYTES else ():
            gpu.rate(counted.precision)  # refuses before the graph is counted
        counts = counted_groups(bundle, counted, [(each, window_seconds) for each in BATCHES])
        for gpu in gpus:
            cells = [
                Cell(batch, bounds(groups, gpu))
                for batch, groups in zip(BATCHES, counts, strict=True)
            ]
            as_if = counted.instead_of_fp32 is not None
            name = counted.artefact.name
            found.append(Estimate(gpu, name, counted.precision, as_if, cells))
        on_step(counted.name)
    [checkpoint] = without_folders([bundle.source.checkpoint])
    return EstimateReport(checkpoint=checkpoint, window_seconds=window_seconds, estimates=found)
