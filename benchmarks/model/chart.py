"""Charts: the latencies, a panel for each input; throughput; and where the time goes."""

from collections.abc import Sequence
from pathlib import Path

from ..measure.charts import (
    BAR_HEIGHT,
    COLOURS,
    MARGIN_INCHES,
    PANEL_WIDTH_INCHES,
    ROW_HEIGHT_INCHES,
    Bar,
    colour,
    draw_bars,
    figure,
)
from ..measure.latency import Latency
from ..measure.parts import PARTS
from .operators import OperatorTime

# How much longer a panel is than its longest bar, which leaves room for the label.
_LABEL_ROOM = 1.55


def draw(title: str, latencies: Sequence[Latency], path: Path) -> None:
    """Write a PNG: a panel for each window, batch and number of threads, a bar per contender.

    A bar is the median, its line goes from the 10th to the 90th percentile.
    """
    panels: dict[str, dict[str, Bar]] = {}
    for each in latencies:
        median = each.median_seconds
        panels.setdefault(_input(each), {})[each.contender] = Bar(
            length=median,
            below=median - each.p10_seconds,
            above=each.p90_seconds - median,
            label=f"{median:.3g} s, {each.speedup:.2f}x",
        )
    draw_bars(title, panels, _LABEL_ROOM, path, "seconds, median with 10th to 90th percentile")


def _input(each: Latency) -> str:
    threads = f"{each.threads} thread{'s' if each.threads > 1 else ''}"
    return f"{each.window_seconds:g} s window, batch {each.batch}, {threads}"


def draw_parts(title: str, times: Sequence[OperatorTime], path: Path) -> None:
    """Write a PNG: a bar per artefact, stacked from the parts of the model."""
    names = list(dict.fromkeys(each.artefact for each in times))
    height = ROW_HEIGHT_INCHES * len(names) + MARGIN_INCHES + 0.7
    with figure(path, 2 * PANEL_WIDTH_INCHES, height, title) as result:
        axes = result.subplots()
        ends = [0.0] * len(names)
        for part, part_colour in zip(PARTS, COLOURS, strict=True):
            seconds = [
                sum(each.seconds for each in times if (each.artefact, each.part) == (name, part))
                for name in names
            ]
            axes.barh(names, seconds, BAR_HEIGHT, left=ends, color=part_colour, label=part)
            ends = [end + length for end, length in zip(ends, seconds, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel("seconds of a run, by ONNX Runtime's profile")
        axes.tick_params(axis="y", length=0)
        result.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def batches(latencies: Sequence[Latency]) -> list[Latency]:
    """The latencies with the window and threads that were measured with most batch sizes."""
    sizes: dict[tuple[float, int], set[int]] = {}
    for each in latencies:
        sizes.setdefault((each.window_seconds, each.threads), set()).add(each.batch)
    chosen = max(sizes, key=lambda key: len(sizes[key]))
    return [each for each in latencies if (each.window_seconds, each.threads) == chosen]


def draw_throughput(title: str, latencies: Sequence[Latency], path: Path) -> None:
    """Write a PNG: hours of audio in an hour against the batch, a line per contender."""
    with figure(path, 2 * PANEL_WIDTH_INCHES, 4.5, title) as result:
        axes = result.subplots()
        for index, name in enumerate(dict.fromkeys(each.contender for each in latencies)):
            line = sorted((e for e in latencies if e.contender == name), key=lambda e: e.batch)
            hours = [each.audio_seconds_per_second for each in line]
            axes.plot([each.batch for each in line], hours, "o-", color=colour(index), label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(f"windows of {latencies[0].window_seconds:g} s in a batch")
        axes.set_ylabel("hours of audio in an hour")
        axes.legend(frameon=False, fontsize=9)
