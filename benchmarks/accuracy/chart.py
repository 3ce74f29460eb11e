"""A chart of the accuracies: one panel for each metric that the MuQ paper reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..style import COLOURS
from .evaluation import Result
from .metrics import PAPER_METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_PANEL_WIDTH_INCHES = 4.2
_ROW_HEIGHT_INCHES = 0.4
_MARGIN_INCHES = 0.9
_LABEL_ROOM = 1.25  # right of the longest possible bar, as a share of it


def draw(title: str, results: Sequence[Result], path: Path) -> None:
    """Write a PNG: a bar per contender in each panel, with the standard deviation over seeds."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(each.contender for each in results))
    tasks = dict.fromkeys(each.task for each in results)
    panels = [(task, metric) for task in tasks for metric in PAPER_METRICS[task]]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    height = (_ROW_HEIGHT_INCHES * len(names) + _MARGIN_INCHES) * rows + 0.6
    figure = Figure(figsize=(_PANEL_WIDTH_INCHES * columns + 1, height), layout="constrained")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, (task, metric) in enumerate(panels):
        here = {each.contender: each.metrics[metric] for each in results if each.task == task}
        labelled = names if index % columns == 0 else [""] * len(names)
        panel = axes[index // columns, index % columns]
        _panel(panel, f"{task}: {metric}", [here[name] for name in names], labelled)
    for panel in axes.flat[len(panels) :]:
        panel.axis("off")
    figure.savefig(path, dpi=150)


def _panel(axes: "Axes", title: str, values: Sequence[Sequence[float]], labels: list[str]) -> None:
    means = [100 * float(np.mean(each)) for each in values]
    deviations = [100 * float(np.std(each)) for each in values]
    rows = range(len(values))
    colours = [COLOURS[row % len(COLOURS)] for row in rows]
    whiskers = {"ecolor": "#333333", "capsize": 3, "linewidth": 1.2}
    # An R2 below zero is no bar; its label says it.
    lengths = [max(mean, 0.0) for mean in means]
    axes.barh(rows, lengths, xerr=deviations, color=colours, height=0.62, error_kw=whiskers)
    for row, (mean, length, deviation) in enumerate(zip(means, lengths, deviations, strict=True)):
        place = (length + deviation, row)
        axes.annotate(
            f"{mean:.1f}", place, (6, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(0, 100 * _LABEL_ROOM)
    axes.set_xticks(range(0, 101, 25))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
