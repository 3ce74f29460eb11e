"""A chart of the latencies: one panel for each window and batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .latency import Cell, Latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#999999", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_PANEL_WIDTH_INCHES = 4.2
_ROW_HEIGHT_INCHES = 0.5
_MARGIN_INCHES = 1.1
# Room at the right of the longest bar for its label, as a share of the bar.
_LABEL_ROOM = 1.55


def draw(title: str, latencies: Sequence[Latency], path: Path) -> None:
    """Write a PNG: a row of panels per batch, a column per window, a bar per contender.

    A bar is the median, its line goes from the 10th to the 90th percentile.
    """
    from matplotlib.figure import Figure

    windows = sorted({each.window_seconds for each in latencies})
    batches = sorted({each.batch for each in latencies})
    names = list(dict.fromkeys(each.contender for each in latencies))
    size = (
        _PANEL_WIDTH_INCHES * len(windows) + 1,
        (_ROW_HEIGHT_INCHES * len(names) + _MARGIN_INCHES) * len(batches) + 0.7,
    )
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    panels = figure.subplots(len(batches), len(windows), squeeze=False)
    for row, batch in enumerate(batches):
        for column, window in enumerate(windows):
            here = [e for e in latencies if (e.window_seconds, e.batch) == (window, batch)]
            _panel(panels[row, column], Cell(window, batch), here, names, column == 0)
    for panel in panels[-1]:
        panel.set_xlabel("seconds, median with 10th to 90th percentile")
    figure.savefig(path, dpi=150)


def _panel(
    axes: "Axes", cell: Cell, latencies: Sequence[Latency], names: list[str], labelled: bool
) -> None:
    rows = [names.index(each.contender) for each in latencies]
    medians = [each.median_seconds for each in latencies]
    below = [each.median_seconds - each.p10_seconds for each in latencies]
    above = [each.p90_seconds - each.median_seconds for each in latencies]
    colours = [COLOURS[row % len(COLOURS)] for row in rows]
    whiskers = {"ecolor": "#333333", "capsize": 3, "linewidth": 1.2}
    axes.barh(rows, medians, xerr=[below, above], color=colours, height=0.62, error_kw=whiskers)
    for row, each in zip(rows, latencies, strict=True):
        label = f"{each.median_seconds:.3g} s, {each.speedup:.2f}x"
        axes.annotate(
            label,
            (each.p90_seconds, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    for row in sorted(set(range(len(names))) - set(rows)):
        axes.text(0, row, "  not measured", va="center", fontsize=9, color="#666666")
    axes.set_title(f"{cell.window_seconds:g} s window, batch {cell.batch}", fontsize=10, loc="left")
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, _LABEL_ROOM * max(each.p90_seconds for each in latencies))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
