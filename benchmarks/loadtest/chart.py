"""Charts of a load test: latencies, and memory and live streams over time."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..style import COLOURS, GREY
from .figures import PERCENTILES
from .results import LoadReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_INCHES, _PANEL_HEIGHT_INCHES = 8.0, 2.6
_BARS = 60
_LEAST_MS = 0.1  # of the logarithmic axis


def draw(report: LoadReport, path: Path) -> None:
    """Write a PNG: a panel for each of what the report has."""
    from matplotlib.figure import Figure

    panels = []
    if report.latencies_ms:
        panels += [_histogram, _percentiles]
    if any(each.rss_bytes is not None for each in report.samples):
        panels.append(_memory)
    if any(each.live_streams is not None for each in report.samples):
        panels.append(_live_streams)
    height = _PANEL_HEIGHT_INCHES * max(1, len(panels)) + 0.6
    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    figure.suptitle(report.target, fontsize=12, x=0.01, ha="left")
    places = figure.subplots(max(1, len(panels)), squeeze=False)[:, 0]
    for panel, axes in zip(panels, places, strict=False):
        panel(axes, report)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _histogram(axes: "Axes", report: LoadReport) -> None:
    latencies_ms = np.maximum(report.latencies_ms, _LEAST_MS)
    bins = np.geomspace(latencies_ms.min() * 0.99, latencies_ms.max() * 1.01, _BARS)
    axes.hist(latencies_ms, bins.tolist(), color=GREY)
    axes.set_xscale("log")
    for percentile, colour in zip(PERCENTILES, COLOURS[1:], strict=False):
        value = report.figures[f"latency_p{percentile}_ms"]
        assert value is not None
        axes.axvline(value, color=colour, label=f"p{percentile}: {value:.3g} ms")
    _deadline(axes.axvline, report)
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("from the end of a hop's audio to its tags, ms")
    axes.set_ylabel("hops")


def _percentiles(axes: "Axes", report: LoadReport) -> None:
    middle = [(each.start_seconds + each.end_seconds) / 2 for each in report.over_time]
    for percentile, colour in zip(PERCENTILES, COLOURS[1:], strict=False):
        values = [getattr(each, f"p{percentile}_ms") for each in report.over_time]
        axes.plot(middle, values, color=colour, label=f"p{percentile}", marker=".")
    _deadline(axes.axhline, report)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("seconds of the test")
    axes.set_ylabel("latency, ms")


def _deadline(line: Callable[..., object], report: LoadReport) -> None:
    line(report.figures["hop_ms"], color="#333333", linestyle="--", label="one hop")


def _memory(axes: "Axes", report: LoadReport) -> None:
    seen = [each for each in report.samples if each.rss_bytes is not None]
    megabytes = [each.rss_bytes / 1e6 for each in seen if each.rss_bytes is not None]
    axes.plot([each.seconds for each in seen], megabytes, color=COLOURS[3])
    axes.set_ylim(0, 1.15 * max(megabytes))
    axes.set_xlabel("seconds of the test")
    axes.set_ylabel("resident memory, MB")


def _live_streams(axes: "Axes", report: LoadReport) -> None:
    seen = [each for each in report.samples if each.live_streams is not None]
    axes.plot(
        [each.seconds for each in seen],
        [each.live_streams for each in seen if each.live_streams is not None],
        color=COLOURS[4],
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of the test")
    axes.set_ylabel("live streams")
