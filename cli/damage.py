"""How much damage of an audio file is accepted, and what is said of one."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError

if TYPE_CHECKING:
    from ..runtime.audio.damage import Damages


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
    def damages(self) -> "Damages":
        """Where this command's damaged files are noted.

        Raises:
            UsageError: both options.
        """
        from ..runtime.audio.damage import MOST_LOST_SHARE, Damages

        if self.strict and self.partial:
            raise UsageError("--strict and --partial contradict each other; give one of them.")
        return Damages(0.0 if self.strict else 1.0 if self.partial else MOST_LOST_SHARE)
