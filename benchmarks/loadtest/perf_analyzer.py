"""perf_analyzer's CSV files as a chart of throughput against latency.

The files are what ``perf_analyzer -f`` writes: one row for each concurrency or request rate, times
in microseconds (triton-inference-server/perf_analyzer, docs/measurements_metrics.md).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...common.files import atomic_file
from ...errors import UsageError
from ..style import COLOURS

_LOADS = ("Concurrency", "Request Rate")
_THROUGHPUT = "Inferences/Second"
_P50, _P99 = "p50 latency", "p99 latency"
_US_PER_MS = 1000.0
_SIZE_INCHES = (7.5, 4.8)


@dataclass(frozen=True)
class Point:
    """What was measured under one load, which is a concurrency or a request rate."""

    load: float
    inferences_per_second: float
    p50_ms: float
    p99_ms: float


def read_points(path: Path) -> list[Point]:
    """The rows of one file, the lightest load first.

    Raises:
        UsageError: it is not such a file, or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # Files of several measurements have blocks below the first, after an empty line.
            rows = [row for row in csv.DictReader(file) if row.get(_P99)]
        points = [
            Point(
                next(float(row[name]) for name in _LOADS if name in row),
                float(row[_THROUGHPUT]),
                float(row[_P50]) / _US_PER_MS,
                float(row[_P99]) / _US_PER_MS,
            )
            for row in rows
        ]
    except (KeyError, ValueError, StopIteration, csv.Error):
        points = []
    if not points:
        raise UsageError(
            f"{path}: not a CSV file of perf_analyzer. Write one with: perf_analyzer ... -f {path}"
        )
    return sorted(points, key=lambda point: point.load)


def draw_throughput(files: Sequence[Path], output: Path) -> dict[str, list[Point]]:
    """Write a PNG: for each file its median (line) and p99 (dashes), a mark for each load.

    Returns:
        Each file's points, by the file's name without suffix.

    Raises:
        UsageError: one of them is not such a file, or two have the same name.
    """
    from matplotlib.figure import Figure

    measured = {path.stem: read_points(path) for path in files}
    if len(measured) < len(files):
        raise UsageError("two files have the same name, and so would their lines; rename one.")
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for index, (name, points) in enumerate(measured.items()):
        colour = COLOURS[index % len(COLOURS)]
        throughput = [point.inferences_per_second for point in points]
        p50, p99 = [point.p50_ms for point in points], [point.p99_ms for point in points]
        axes.plot(throughput, p50, "o-", color=colour, label=f"{name}, p50")
        axes.plot(throughput, p99, "o--", color=colour, label=f"{name}, p99", alpha=0.7)
        for point in points:
            place = (point.inferences_per_second, point.p50_ms)
            axes.annotate(f"{point.load:g}", place, (4, -11), textcoords="offset points")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("inferences a second; the numbers are clients at once, or requests a second")
    axes.set_ylabel("latency, ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return measured
