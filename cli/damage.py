"""How much damage of an audio file is accepted, and what is said of one."""

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
    """The files that were not used as they are: damaged, or heard from one channel.

    Attributes:
        tolerance: what adds to them.
    """

    most_lost_share: float
    _found: "dict[str, Damage]" = field(default_factory=dict)
    _one_channel_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> "Tolerance":
        """How much is accepted; what is found comes here."""
        from ..runtime.audio.damage import Tolerance

        return Tolerance(
            self.most_lost_share,
            self._found.__setitem__,
            self._one_channel_seconds.__setitem__,
        )

    def facts(self, audio: str | PathLike[str]) -> dict[str, Any]:
        """A file's ``damage`` and ``one_channel_seconds`` as JSON, where there are any."""
        name, facts = str(audio), dict[str, Any]()
        if name in self._found:
            facts["damage"] = asdict(self._found[name])
        if name in self._one_channel_seconds:
            facts["one_channel_seconds"] = self._one_channel_seconds[name]
        return facts

    def lines(self, audio: str | PathLike[str]) -> list[str]:
        """The same as lines of text."""
        from ..runtime.audio.damage import one_channel_line

        name, lines = str(audio), list[str]()
        if name in self._found:
            lines.append(f"DAMAGED {name}: {self._found[name]}")
        if name in self._one_channel_seconds:
            lines.append(f"{name}: {one_channel_line(self._one_channel_seconds[name])}")
        return lines

    def forget(self, audio: str | PathLike[str]) -> None:
        """Drop what is known of a file: it has been shown."""
        self._found.pop(str(audio), None)
        self._one_channel_seconds.pop(str(audio), None)

    def names(self) -> list[str]:
        """The files of which there is something to say."""
        return list(dict.fromkeys([*self._found, *self._one_channel_seconds]))


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
