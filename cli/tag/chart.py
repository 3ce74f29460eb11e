"""A chart of one track's tags over time."""

import warnings
from pathlib import Path

import numpy as np

from ...common.files import atomic_file
from ...runtime.bundle.tagging import TrackTags
from ...runtime.documents import Choice
from .report import short

_WIDTH_INCHES = 9.0
_ROW_HEIGHT_INCHES = 0.28
_MARGIN_INCHES = 1.6
_MOST_ROWS = 60
# Instead of an empty chart, when no tag reaches its threshold.
_FEWEST_ROWS = 8
_SEGMENT_COLOUR = "#D55E00"  # vermilion: colour-blind readers can tell it from the blues


def draw(title: str, track: TrackTags, choice: Choice, path: Path) -> None:
    """Write a PNG, whole or not at all: a row for each tag shown, best of the track first.

    Darker is more probable; segments that reach the threshold are outlined.
    """
    from matplotlib.figure import Figure

    best = [tag for tag, _ in track.ranking()[: choice.top or _FEWEST_ROWS]]
    tags = choice.shown(track)[:_MOST_ROWS] or best
    size = (_WIDTH_INCHES, _ROW_HEIGHT_INCHES * len(tags) + _MARGIN_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    vocabulary = track.tagging.vocabulary
    scores = track.window_scores[:, [vocabulary.index(tag) for tag in tags]].T
    rows = np.arange(len(tags) + 1) - 0.5
    mesh = axes.pcolormesh(track.edges_seconds, rows, scores, cmap="Blues", vmin=0, vmax=1)
    segments = track.segments(choice.threshold)
    for row, tag in enumerate(tags):
        spans = [(start, end - start) for start, end in segments.get(tag, [])]
        axes.broken_barh(
            spans, (row - 0.42, 0.84), facecolor="none", edgecolor=_SEGMENT_COLOUR, linewidth=1.4
        )
    axes.set_yticks(range(len(tags)), [_literal(short(tag)) for tag in tags])
    axes.set_ylim(len(tags) - 0.5, -0.5)
    axes.set_xlim(0, track.seconds)
    axes.set_xlabel("seconds; outlined: at or above the tag's threshold")
    axes.set_title(
        _literal(f"{title}: silent" if track.is_silent else title), fontsize=12, loc="left"
    )
    axes.tick_params(axis="y", length=0)
    figure.colorbar(mesh, ax=axes, label="probability")
    with atomic_file(path) as temporary, warnings.catch_warnings():
        # A letter that the font lacks becomes a box; the warning would not help.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(temporary, dpi=150)


def _literal(text: str) -> str:
    """Text in which a dollar sign starts no formula."""
    return text.replace("$", r"\$")
