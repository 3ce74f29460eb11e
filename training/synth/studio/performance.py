"""What the studio records: players, and the notes that they play."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrangement import VOICE
from ..instrument import DRUM_BANK, INSTRUMENTS, KITS, PROGRAM_FAMILIES, Preset
from ..singer import Singer
from ..song import Song
from ..synthesizer import Note, Synthesizer
from .vocalist import Vocalist

_VOICE_WORDS = ("instrumental", "vocals")


@dataclass(frozen=True)
class Player:
    """One part's player: an instrument by name, a General MIDI program, or a voice.

    Args:
        instrument: a name in ``INSTRUMENTS`` or ``KITS``, if that is what is known.
        program: otherwise; a drum kit where ``is_drums``.
        is_drums: whether it plays drums.
        voice: who sings; nothing else then counts but ``volume``.
        choice: among the presets that fit, 0..1.
        volume: MIDI volume, as pan.
        pan: 64 is the middle.
    """

    instrument: str | None = None
    program: int = 0
    is_drums: bool = False
    voice: Vocalist | Singer | None = None
    choice: float = 0.0
    volume: int = 100
    pan: int = 64

    @property
    def family(self) -> str:
        """The word that music with it is tagged with; empty where there is none."""
        if self.voice is not None:
            return ""
        if self.instrument is not None:
            return (INSTRUMENTS | KITS)[self.instrument].family
        return "drums" if self.is_drums else PROGRAM_FAMILIES.get(self.program, "")

    def preset(self, synthesizer: Synthesizer, held_out: bool) -> Preset:
        """What plays it."""
        palette = synthesizer.palette
        if self.instrument is not None:
            return palette.preset(self.instrument, held_out, self.choice)
        bank = DRUM_BANK if self.is_drums else 0
        found = palette.program(bank, self.program, held_out, self.choice)
        standard = found or palette.program(bank, 0, held_out, self.choice)
        assert standard is not None
        return standard


@dataclass(frozen=True)
class Performance:
    """Players and notes: a note's ``part`` is its player's place."""

    players: tuple[Player, ...]
    notes: tuple[Note, ...]
    seconds: float


def heard(performance: Performance) -> tuple[set[str], set[str]]:
    """Words for what is heard, and those of which it is open whether they hold: a choir among the
    instruments is neither a voice nor none."""
    players = [performance.players[part] for part in {note.part for note in performance.notes}]
    words = {player.family for player in players} - {""}
    if any(player.voice is not None for player in players):
        return words | {"vocals"}, set()
    return (words, set(_VOICE_WORDS)) if "choir" in words else (words | {"instrumental"}, set())


def performance_of(song: Song, vocalist: Vocalist | Singer | None) -> Performance:
    """A composed song, its sung lead by a vocalist."""
    players = [
        Player(voice=vocalist)
        if part.instrument == VOICE
        else Player(part.instrument, choice=part.choice, volume=part.volume, pan=part.pan)
        for part in song.band.parts
    ]
    return Performance(tuple(players), song.notes, song.seconds)


def unbroken(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Notes by start, each cut where its part strikes the same key again."""
    ends: dict[tuple[int, int], float] = {}
    kept = []
    for note in sorted(notes, key=lambda each: (-each.start, each.part, each.key)):
        end = min(note.end, ends.get((note.part, note.key), np.inf) - 0.01)
        if end > note.start:
            kept.append(Note(note.part, note.start, end, note.key, note.velocity))
            ends[note.part, note.key] = note.start
    return tuple(sorted(kept, key=lambda each: (each.start, each.part, each.key)))
