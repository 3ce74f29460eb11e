"""What a style of music is made of."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Role:
    """An accompanying part.

    Args:
        instruments: one of them plays it.
        figures: what it plays in a bar, from sparse to dense, one character per quarter of a
            beat: ``C`` the whole chord, a digit that tone of the voicing, ``w`` a step of a
            walking bass, ``-`` holds and ``.`` rests. A figure's length is that of its metre.
        center: the MIDI key it plays around.
        velocity: over the song's.
        voicing: ``close`` position, ``power`` (root, fifth, octave) or ``root`` (bass notes).
        gate: the sounding share of a written length.
    """

    instruments: tuple[str, ...]
    figures: tuple[str, ...]
    center: int
    velocity: int = 0
    voicing: str = "close"
    gate: float = 0.95


@dataclass(frozen=True)
class Groove:
    """A bar of drums: a line of each drum, ``X`` loud, ``x`` plain, ``g`` soft, ``.`` rest."""

    lines: dict[str, str]


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
        cadence: the chord before a passage's end; none where loops just go on.
        lead: instruments of the melody.
        comp: the chords' part; without instruments it is played by the lead's.
        bass: the bass part, where there is one.
        pads: instruments that hold the chords of the fullest section.
        kits: drum kits; none without drums.
        grooves: from sparse to dense.
        pentatonic: whether melodies stay on five tones.
    """

    tempo_bpm: tuple[float, float]
    major: tuple[str, ...]
    minor: tuple[str, ...]
    lead: tuple[str, ...]
    comp: Role
    bass: Role | None
    pads: tuple[str, ...]
    metres: tuple[int, ...] = (4,)
    swing: float = 0.5
    looseness_s: float = 0.008
    cadence: str = ""
    kits: tuple[str, ...] = ()
    grooves: tuple[Groove, ...] = ()
    pentatonic: bool = False
