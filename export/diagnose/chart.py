"""A chart of the hidden states' differences, layer by layer."""

from collections.abc import Sequence
from pathlib import Path

from ...common.environment import require
from ...common.files import atomic_file
from .layers import LevelDifference


def chart_file(name: Path) -> Path:
    """Add the suffix .png where it is missing.

    Raises:
        MissingDependencyError: no matplotlib.
    """
    require("bench", "matplotlib")
    return name if name.suffix == ".png" else name.with_name(f"{name.name}.png")


def draw(title: str, differences: Sequence[LevelDifference], path: Path) -> None:
    """Write a PNG, whole or not at all: both figures over the levels, a line for each artefact.

    Of the cosine what it lacks of 1 is drawn. A figure of 0 has no place on the axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=13, x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(each.artefact for each in differences):
        own = [each for each in differences if each.artefact == name]
        levels = [each.level for each in own]
        left.plot(levels, [each.relative_l2 for each in own], marker="o", label=name)
        right.plot(levels, [1 - each.worst_frame_cosine for each in own], marker="o")
    for axes, label in ((left, "relative L2"), (right, "1 - worst frame cosine")):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_xlabel("level")
        axes.set_title(label, fontsize=10, loc="left")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
