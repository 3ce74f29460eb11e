"""The options that say how much damage of an audio file is accepted, and what was found."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError

if TYPE_CHECKING:
    from ..runtime.audio.damage import Damage, Tolerance


@dataclass
class Damages:
    """The damaged files that were used all the same.

    Attributes:
        tolerance: what adds to them.
    """

    most_lost_share: float
    _found: "dict[str, Damage]" = field(default_factory=dict)

    @property
    def tolerance(self) -> "Tolerance":
        """How much is accepted; what is found comes here."""
        from ..runtime.audio.damage import Tolerance

        return Tolerance(self.most_lost_share, self._found.__setitem__)

    def facts(self, audio: str | PathLike[str]) -> dict[str, Any]:
        """A file's damage as JSON, under ``damage``; nothing if there is none."""
        found = self._found.get(str(audio))
        return {} if found is None else {"damage": asdict(found)}

    def line(self, audio: str | PathLike[str]) -> str:
        """A file's damage as a line of text; empty if there is none."""
        found = self._found.get(str(audio))
        return "" if found is None else f"DAMAGED {audio}: {found}"

    def names(self) -> list[str]:
        """The damaged files."""
        return list(self._found)


@dataclass(frozen=True, kw_only=True)
class DamageOptions:
    """What to do with damaged files; by default those that lost little are used, with a word."""

    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse audio files with any damage.")
    ] = False
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Use cut and damaged audio files as far as they go; without it, those that lost "
            "more than a fifth are refused.",
        ),
    ] = False

    @cached_property
    def damages(self) -> Damages:
        """Where this command's damaged files are noted.

        Raises:
            UsageError: both options.
        """
        from ..runtime.audio.damage import MOST_LOST_SHARE

        if self.strict and self.partial:
            raise UsageError("--strict and --partial contradict each other; give one of them.")
        return Damages(0.0 if self.strict else 1.0 if self.partial else MOST_LOST_SHARE)
