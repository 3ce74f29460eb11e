"""The recipes of a corpus: what its items are, and what plays them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ....common.environment import import_extra
from ..item import KINDS, Item
from ..scores.collection import installed, sources
from ..synthesizer import Synthesizer, find_soundfonts
from .fonts import find_fonts
from .item import STUDIO_KINDS, StudioItem


class Recipe(Protocol):
    """How a corpus is made.

    Attributes:
        kinds: of items, in their order.
        keeps_rows: whether a finished item's row is kept, because planning it again takes long.
    """

    kinds: tuple[str, ...]
    keeps_rows: bool

    def fonts(self, chosen: Sequence[Path]) -> tuple[Path, ...]:
        """The soundfonts: the chosen, or Debian's; their order matters."""
        ...

    def synthesizer(self, fonts: Sequence[Path]) -> Synthesizer:
        """What plays with them."""
        ...

    def items(self, seed: int, counts: dict[str, int], song_seconds: float) -> list[Item]:
        """All items, kind after kind."""
        ...

    def facts(self) -> dict[str, Any]:
        """What has to be the same for the audio files to be the same, besides the settings."""
        ...


class GeneralMidi:
    """Composed songs and clips, played by one or two soundfonts: muq-mini's first corpus."""

    kinds: tuple[str, ...] = KINDS
    keeps_rows = False

    def fonts(self, chosen: Sequence[Path]) -> tuple[Path, ...]:
        """The chosen, or the two that the recipe knows where they are installed."""
        return tuple(find_soundfonts(chosen))

    def synthesizer(self, fonts: Sequence[Path]) -> Synthesizer:
        """Presets of every font are held out."""
        return Synthesizer(fonts)

    def items(self, seed: int, counts: dict[str, int], song_seconds: float) -> list[Item]:
        """Songs, voice clips, note clips."""
        return [
            Item(seed, kind, index, song_seconds)
            for kind in KINDS
            for index in range(counts.get(kind, 0))
        ]

    def facts(self) -> dict[str, Any]:
        """Nothing more."""
        return {}


class Studio:
    """Also scores that people wrote; all of Debian's soundfonts, one of them held out; amplifiers,
    sung words, rooms, tape, codecs, the loudness of real mixes."""

    kinds: tuple[str, ...] = STUDIO_KINDS
    keeps_rows = True

    def fonts(self, chosen: Sequence[Path]) -> tuple[Path, ...]:
        """The chosen, or all that are installed."""
        return tuple(font.path for font in find_fonts(chosen))

    def synthesizer(self, fonts: Sequence[Path]) -> Synthesizer:
        """Whole fonts are held out."""
        found = find_fonts(fonts)
        return Synthesizer(fonts, [f.held_out for f in found], [f.weight for f in found])

    def items(self, seed: int, counts: dict[str, int], song_seconds: float) -> list[Item]:
        """Songs, scores, voice clips, note clips."""
        import_extra("synth", "av", "music21", "mido", "pyloudnorm", "pyworld")
        names = tuple(installed())
        return [
            StudioItem(seed, kind, index, song_seconds, names)
            for kind in STUDIO_KINDS
            for index in range(counts.get(kind, 0))
        ]

    def facts(self) -> dict[str, Any]:
        """The recipe's name and version, and the scores."""
        return {"recipe": "studio 1", "scores": sources()}


RECIPES: dict[str, Recipe] = {"general-midi": GeneralMidi(), "studio": Studio()}
