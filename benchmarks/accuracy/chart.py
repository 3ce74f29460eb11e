"""A chart of the accuracies: one panel for each metric that the MuQ paper reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..measure.charts import Bar, draw_bars
from .evaluation import Result
from .metrics import PAPER_METRICS

# How much wider a panel is than the longest possible bar, which leaves room for the label.
_LABEL_ROOM = 1.25


def draw(title: str, results: Sequence[Result], path: Path) -> None:
    """Write a PNG: a bar per contender in each panel, with the standard deviation over seeds."""
    panels: dict[str, dict[str, Bar]] = {}
    for each in results:
        for metric in PAPER_METRICS[each.task]:
            panel = panels.setdefault(f"{each.task}: {metric}", {})
            panel[each.contender] = _bar(each.metrics[metric])
    draw_bars(title, panels, _LABEL_ROOM, path, limit=100)


def _bar(values: Sequence[float]) -> Bar:
    mean, deviation = 100 * float(np.mean(values)), 100 * float(np.std(values))
    # An R2 below zero has no bar; its label says it.
    return Bar(max(mean, 0.0), deviation, deviation, f"{mean:.1f}")
