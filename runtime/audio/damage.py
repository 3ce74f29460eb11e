"""What of a file could not be decoded, and how much of that is accepted."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from ...errors import AudioError

# A file that lacks more than this share of its audio is refused, unless it is asked for.
MOST_LOST_SHARE = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Damage:
    """The audio of a file that is missing or could not be decoded, and was left out.

    Attributes:
        lost_seconds: how much, as far as the file tells; 0 where it does not.
        read_seconds: how much was decoded.
        reason: what is wrong with the file.
    """

    lost_seconds: float
    read_seconds: float
    reason: str

    @property
    def lost_share(self) -> float:
        """The lost part of the whole, from 0 to 1."""
        return self.lost_seconds / max(self.lost_seconds + self.read_seconds, 1e-9)

    def __str__(self) -> str:
        total = self.lost_seconds + self.read_seconds
        return f"{self.lost_seconds:.2f} s of {total:.2f} s left out: {self.reason}"


def _warn(name: str, damage: Damage) -> None:
    _log.warning("%s: %s.", name, damage)


def one_channel_line(seconds: float) -> str:
    """What is said of a file heard from one of its channels for so many seconds."""
    return f"heard from one channel for {seconds:.1f} s, in which its channels cancel each other"


def _warn_of_one_channel(name: str, seconds: float) -> None:
    _log.warning("%s: %s.", name, one_channel_line(seconds))


@dataclass(frozen=True)
class Tolerance:
    """How much damage is accepted, and who is told.

    Attributes:
        most_lost_share: files that lost a larger share of their audio are refused; 0 refuses any
            damage, 1 accepts whatever can be decoded.
        on_damage: called with a file's name and its damage, once the file has been read. May be
            called from another thread. Writes a warning to the log by default.
        on_one_channel: called likewise with a file's name and for how many seconds its channels
            cancel each other, so that the louder one was taken.
    """

    most_lost_share: float = MOST_LOST_SHARE
    on_damage: Callable[[str, Damage], None] = field(default=_warn, compare=False)
    on_one_channel: Callable[[str, float], None] = field(
        default=_warn_of_one_channel, compare=False
    )

    def judge(self, name: str, damage: Damage) -> None:
        """Tell of the damage.

        Raises:
            AudioError: it is too much.
        """
        if self.most_lost_share > 0 and damage.lost_share <= self.most_lost_share:
            self.on_damage(name, damage)
            return
        cure = "Copy or download it again"
        if self.most_lost_share > 0:
            cure += ", or take it as far as it goes with --partial (most_lost_share=1)"
        raise AudioError(
            f"{name}: cut short or damaged: {damage.reason}, and only "
            f"{damage.read_seconds:.1f} s could be read. {cure}."
        )


USUAL = Tolerance()


@dataclass
class Damages:
    """The files that were not used as they are: damaged, or heard from one channel.

    Attributes:
        tolerance: what adds to them.
    """

    most_lost_share: float = MOST_LOST_SHARE
    _found: dict[str, Damage] = field(default_factory=dict)
    _one_channel_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> Tolerance:
        """How much is accepted; what is found comes here."""
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
