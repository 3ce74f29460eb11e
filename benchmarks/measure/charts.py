"""What all charts share: colours, figures, and panels of horizontal bars."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
GREY = "#999999"
COLOURS = (GREY, "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
DARK = "#333333"
BAR_HEIGHT = 0.62  # of a row
ROW_HEIGHT_INCHES, PANEL_WIDTH_INCHES = 0.5, 4.2
MARGIN_INCHES = 1.1  # of a panel: its title and its axis
_TITLE_INCHES = 0.7
_MOST_COLUMNS = 3
_DOTS_PER_INCH = 150


class Bar(NamedTuple):
    """A bar, the line over its end, which reaches so far below and above it, and its label."""

    length: float
    below: float
    above: float
    label: str


def colour(index: int) -> str:
    """The palette's colour of that index, from the first again after the last."""
    return COLOURS[index % len(COLOURS)]


@contextmanager
def figure(path: Path, width_inches: float, height_inches: float, title: str) -> "Iterator[Figure]":
    """Yield a figure to draw into; it is written as a PNG when the block succeeds."""
    from matplotlib.figure import Figure

    result = Figure(figsize=(width_inches, height_inches), layout="constrained")
    result.suptitle(title, fontsize=13, x=0.01, ha="left")
    yield result
    for axes in result.axes:
        axes.spines[["top", "right"]].set_visible(False)
    result.savefig(path, dpi=_DOTS_PER_INCH, format="png")


def draw_bars(
    title: str,
    panels: Mapping[str, Mapping[str, Bar]],
    room: float,
    path: Path,
    unit: str = "",
    limit: float | None = None,
) -> None:
    """Write a PNG of panels with a bar for each contender.

    Args:
        title: the figure's.
        panels: bars by contender, by the panel's title; the first panel's order holds for all.
        room: the panels' width as a multiple of their longest bar, so that its label fits.
        path: where to write it.
        unit: what the bars measure.
        limit: the longest possible bar, when it is the same in all panels.
    """
    fullest = sorted(panels.values(), key=len, reverse=True)
    names = list(dict.fromkeys(name for panel in fullest for name in panel))
    columns = min(_MOST_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    height = (ROW_HEIGHT_INCHES * len(names) + MARGIN_INCHES) * rows + _TITLE_INCHES
    with figure(path, PANEL_WIDTH_INCHES * columns + 1, height, title) as result:
        grid = result.subplots(rows, columns, squeeze=False)
        for index, (axes, (name, bars)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            _panel(axes, bars, names, index % columns == 0)
            axes.set_title(name, fontsize=10, loc="left")
            longest = max(bar.length + bar.above for bar in bars.values())
            axes.set_xlim(0, room * (limit or longest))
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        result.supxlabel(unit, fontsize=10)


def _panel(axes: "Axes", bars: Mapping[str, Bar], names: list[str], labelled: bool) -> None:
    for row, name in enumerate(names):
        if name not in bars:
            axes.text(0, row, "  not measured", va="center", fontsize=9, color="#666666")
            continue
        length, below, above, label = bars[name]
        whiskers = {"ecolor": DARK, "capsize": 3, "linewidth": 1.2}
        reach = [[below], [above]]
        axes.barh(row, length, BAR_HEIGHT, xerr=reach, color=colour(row), error_kw=whiskers)
        place = (length + above, row)
        axes.annotate(label, place, (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
