"""Charts: the latencies, a panel for each input; throughput; and where the time goes."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..measure.latency import Latency
from ..style import COLOURS
from .operators import PARTS, OperatorTime

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_PANEL_WIDTH_INCHES = 4.2
_ROW_HEIGHT_INCHES = 0.5
_MARGIN_INCHES = 1.1
# Room at the right of the longest bar for its label, as a share of the bar.
_LABEL_ROOM = 1.55


def draw(title: str, latencies: Sequence[Latency], path: Path) -> None:
    """Write a PNG: a panel for each window, batch and number of threads, a bar per contender.

    A bar is the median, its line goes from the 10th to the 90th percentile.
    """
    from matplotlib.figure import Figure

    inputs = list(dict.fromkeys(map(_input, latencies)))
    by_input = [[e.contender for e in latencies if _input(e) == each] for each in inputs]
    names = list(dict.fromkeys(chain(*sorted(by_input, key=len, reverse=True))))
    columns = min(_COLUMNS, len(inputs))
    rows = -(-len(inputs) // columns)
    size = (
        _PANEL_WIDTH_INCHES * columns + 1,
        (_ROW_HEIGHT_INCHES * len(names) + _MARGIN_INCHES) * rows + 0.7,
    )
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, squeeze=False)
    for index, each in enumerate(inputs):
        here = [latency for latency in latencies if _input(latency) == each]
        _panel(panels[index // columns, index % columns], each, here, names, index % columns == 0)
    for panel in panels.flat[len(inputs) :]:
        panel.axis("off")
    figure.supxlabel("seconds, median with 10th to 90th percentile", fontsize=10)
    figure.savefig(path, dpi=150)


def _input(each: Latency) -> str:
    threads = f"{each.threads} thread{'s' if each.threads > 1 else ''}"
    return f"{each.window_seconds:g} s window, batch {each.batch}, {threads}"


def draw_parts(title: str, times: Sequence[OperatorTime], path: Path) -> None:
    """Write a PNG: a bar per artefact, stacked from the parts of the model."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(each.artefact for each in times))
    height = _ROW_HEIGHT_INCHES * len(names) + _MARGIN_INCHES + 0.7
    figure = Figure(figsize=(2 * _PANEL_WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots()
    ends = [0.0] * len(names)
    for part, colour in zip(PARTS, COLOURS, strict=True):
        seconds = [
            sum(each.seconds for each in times if (each.artefact, each.part) == (name, part))
            for name in names
        ]
        axes.barh(names, seconds, left=ends, color=colour, height=0.62, label=part)
        ends = [end + length for end, length in zip(ends, seconds, strict=True)]
    axes.invert_yaxis()
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlabel("seconds of a run, by ONNX Runtime's profile")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def batches(latencies: Sequence[Latency]) -> list[Latency]:
    """Those of the window and threads that were measured with the most batch sizes."""
    sizes: dict[tuple[float, int], set[int]] = {}
    for each in latencies:
        sizes.setdefault((each.window_seconds, each.threads), set()).add(each.batch)
    chosen = max(sizes, key=lambda key: len(sizes[key]))
    return [each for each in latencies if (each.window_seconds, each.threads) == chosen]


def draw_throughput(title: str, latencies: Sequence[Latency], path: Path) -> None:
    """Write a PNG: hours of audio in an hour against the batch, a line per contender."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * _PANEL_WIDTH_INCHES, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(each.contender for each in latencies)):
        line = sorted((e for e in latencies if e.contender == name), key=lambda each: each.batch)
        axes.plot(
            [each.batch for each in line],
            [each.audio_seconds_per_second for each in line],
            "o-",
            color=COLOURS[index % len(COLOURS)],
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title, fontsize=13, loc="left")
    axes.set_xlabel(f"windows of {latencies[0].window_seconds:g} s in a batch")
    axes.set_ylabel("hours of audio in an hour")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def _panel(
    axes: "Axes", title: str, latencies: Sequence[Latency], names: list[str], labelled: bool
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
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, _LABEL_ROOM * max(each.p90_seconds for each in latencies))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
