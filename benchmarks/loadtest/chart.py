"""Charts of a load test: latencies, and memory and live streams over time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..measure.charts import COLOURS, DARK, GREY, figure
from .figures import PERCENTILES, Figures, Stretch
from .watch import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = Callable[["Axes"], None]
_WIDTH_INCHES, _PANEL_HEIGHT_INCHES = 8.0, 2.6
_BARS = 60
_LEAST_MS = 0.1  # on the logarithmic axis
_TIME_LABEL = "seconds of the test"


def draw(title: str, panels: Sequence[Panel], path: Path) -> None:
    """Write a PNG with the panels below each other."""
    rows = max(1, len(panels))
    with figure(path, _WIDTH_INCHES, _PANEL_HEIGHT_INCHES * rows + 0.6, title) as result:
        grid = result.subplots(rows, squeeze=False)[:, 0]
        for panel, axes in zip(panels, grid, strict=False):
            panel(axes)


def histogram(latencies_ms: Sequence[float], figures: Figures, axes: "Axes") -> None:
    """Draw how many hops have which latency, and the percentiles."""
    shown_ms = np.maximum(latencies_ms, _LEAST_MS)
    bins = np.geomspace(shown_ms.min() * 0.99, shown_ms.max() * 1.01, _BARS)
    axes.hist(shown_ms, bins.tolist(), color=GREY)
    axes.set_xscale("log")
    for percentile, colour in zip(PERCENTILES, COLOURS[1:], strict=False):
        value = figures[f"latency_p{percentile}_ms"]
        assert value is not None
        axes.axvline(value, color=colour, label=f"p{percentile}: {value:.3g} ms")
    _deadline(axes.axvline, figures)
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("from the end of a hop's audio to its tags, ms")
    axes.set_ylabel("hops")


def percentiles(over_time: Sequence[Stretch], figures: Figures, axes: "Axes") -> None:
    """Draw the latencies' percentiles over time."""
    middle = [(each.start_seconds + each.end_seconds) / 2 for each in over_time]
    for percentile, colour in zip(PERCENTILES, COLOURS[1:], strict=False):
        values = [getattr(each, f"p{percentile}_ms") for each in over_time]
        axes.plot(middle, values, color=colour, label=f"p{percentile}", marker=".")
    _deadline(axes.axhline, figures)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel(_TIME_LABEL)
    axes.set_ylabel("latency, ms")


def over_time(
    samples: Sequence[Sample], values: Sequence[float], label: str, index: int, axes: "Axes"
) -> None:
    """Draw what was watched, a value for each sample, in the palette's colour of that index."""
    axes.plot([each.seconds for each in samples], values, color=COLOURS[index])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(_TIME_LABEL)
    axes.set_ylabel(label)


def _deadline(line: Callable[..., object], figures: Figures) -> None:
    line(figures["hop_ms"], color=DARK, linestyle="--", label="one hop")
