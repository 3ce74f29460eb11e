"""The styles of music: what each is made of, read from the TOML files beside this module."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from ....common.config import read_toml
from ..harmony import chord

STEPS_PER_BEAT = 4

# Lines of a groove and their General MIDI keys.
DRUMS = {
    "kick": 36,
    "snare": 38,
    "rim": 37,
    "clap": 39,
    "hat": 42,
    "open": 46,
    "ride": 51,
    "shaker": 70,
    "cowbell": 56,
    "tom": 45,
    "cymbal": 49,
}
# In this order: a song draws its style by its place.
_FILES = ("acoustic.toml", "amplified.toml", "electronic.toml")

Figure = Annotated[str, Field(pattern=r"^[C0-9w.-]+$")]
# A bar of drums: a line for each drum, with ``X`` loud, ``x`` plain, ``g`` soft and ``.`` a rest.
Groove = Mapping[str, Annotated[str, Field(pattern=r"^[Xxg.]+$")]]


@dataclass(frozen=True)
class Role:
    """An accompanying part.

    Args:
        figures: what it plays in a bar, from sparse to dense, one character per quarter of a
            beat: ``C`` the whole chord, a digit that tone of the voicing, ``w`` a step of a
            walking bass, ``-`` holds and ``.`` rests. A figure's length is that of its metre.
        center: the MIDI key it plays around.
        instruments: one of them plays it.
        velocity: over the song's.
        voicing: ``close`` position, ``power`` (root, fifth, octave) or ``root`` (bass notes).
        gate: the sounding share of a written length.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    figures: tuple[Figure, ...]
    center: int
    instruments: tuple[str, ...] = ()
    velocity: int = 0
    voicing: Literal["close", "power", "root"] = "close"
    gate: float = 0.95


@dataclass(frozen=True)
class Style:
    """A style of music.

    Args:
        tempo_bpm: from the calmest to the most excited, in quarter notes.
        metres: beats a bar may have.
        swing: where in a beat its off-beat lies: 0.5 is straight, 2/3 a triplet.
        looseness_s: standard deviation of a player's timing.
        major: progressions of songs in major, at least three.
        minor: those in minor.
        cadence: the chord before a passage's end; empty where loops just go on.
        lead: instruments of the melody.
        comp: the chords' part; without instruments it is played by the lead's.
        bass: the bass part, where there is one.
        pads: instruments that hold the chords of the fullest section.
        kits: drum kits, where ``""`` stands for none; without any there are no drums.
        grooves: from sparse to dense.
        pentatonic: whether melodies stay on five tones.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    tempo_bpm: tuple[float, float]
    major: Annotated[tuple[str, ...], Field(min_length=3)]
    minor: Annotated[tuple[str, ...], Field(min_length=3)]
    lead: Annotated[tuple[str, ...], Field(min_length=2)]
    comp: Role
    pads: tuple[str, ...]
    bass: Role | None = None
    metres: tuple[int, ...] = (4,)
    swing: float = 0.5
    looseness_s: float = 0.008
    cadence: str = ""
    kits: tuple[str, ...] = ()
    grooves: tuple[Groove, ...] = ()
    pentatonic: bool = False

    def __post_init__(self) -> None:
        for progression in (*self.major, *self.minor, self.cadence):
            for numeral in progression.split():
                chord(numeral)
        bars = {metre * STEPS_PER_BEAT for metre in self.metres}
        for role in filter(None, (self.comp, self.bass)):
            if {len(figure) for figure in role.figures} != bars:
                raise ValueError(f"figures {role.figures}: not those of metres {self.metres}")
        for groove in self.grooves:
            lengths = {len(line) for line in groove.values()}
            if len(lengths) != 1 or not lengths <= bars or not groove.keys() <= DRUMS.keys():
                raise ValueError(f"groove {groove}: unknown drums, or lines of another metre")


def _read_styles() -> dict[str, Style]:
    documents = (read_toml(Path(__file__).with_name(name)) for name in _FILES)
    styles = {name: style for document in documents for name, style in document.items()}
    return TypeAdapter(dict[str, Style]).validate_python(styles)


STYLES = _read_styles()
