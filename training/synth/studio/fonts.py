"""The soundfonts of Debian: which play training items, and which are kept for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from ....common.config import read_toml
from ....errors import MissingDependencyError, UsageError


@dataclass(frozen=True)
class Font:
    """A soundfont.

    Args:
        path: where its package puts it.
        package: Debian's.
        licence: an SPDX expression.
        split: "test" plays test items and no others.
        weight: how often it is chosen, relative to the others of its split.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: Path
    package: str
    licence: str
    split: Literal["train", "test"]
    weight: float

    @property
    def held_out(self) -> bool:
        """Whether it is kept for tests."""
        return self.split == "test"


FONTS = TypeAdapter(dict[str, Font]).validate_python(
    read_toml(Path(__file__).with_name("fonts.toml"))
)


def find_fonts(chosen: Sequence[Path] = ()) -> list[Font]:
    """The chosen fonts, or all that are installed: in the table's order, of both splits.

    Raises:
        UsageError: a chosen one is not in the table, or a split has none.
        MissingDependencyError: none was chosen, and a split has none installed.
    """
    names = {font.path.name: font for font in FONTS.values()}
    for path in chosen:
        if path.name not in names:
            raise UsageError(
                f"{path}: recipe studio knows no such soundfont; choose among {', '.join(names)}."
            )
    wanted = {path.name: path for path in chosen}
    found = [
        Font(wanted.get(name, font.path), font.package, font.licence, font.split, font.weight)
        for name, font in names.items()
        if (name in wanted if chosen else font.path.is_file())
    ]
    for split in ("train", "test"):
        if any(font.split == split for font in found):
            continue
        fonts = [font for font in FONTS.values() if font.split == split]
        if chosen:
            files = ", ".join(font.path.name for font in fonts)
            raise UsageError(f"None of the soundfonts is for split {split}; add one of {files}.")
        raise MissingDependencyError(
            f"No soundfont for split {split} is installed. On Debian, run: "
            f"apt-get install {' '.join(font.package for font in fonts)}"
        )
    return found
