"""Keys, chords and progressions: functional harmony in Roman numerals."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PENTATONIC = {"major": (0, 2, 4, 7, 9), "minor": (0, 3, 5, 7, 10)}

_NUMERAL = re.compile(r"(b|#|)(VII|VI|V|IV|III|II|I|vii|vi|v|iv|iii|ii|i)(.*)")
_DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_SHIFTS = {"b": -1, "#": 1, "": 0}
_MAJOR_THIRD, _MAJOR_SEVENTH = 4, 11
_QUALITIES = {
    "5": (0, 7),
    "sus4": (0, 5, 7),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "6": (0, 4, 7, 9),
    "9": (0, 4, 7, 10, 14),
}


@dataclass(frozen=True)
class Chord:
    """A chord relative to the tonic.

    Args:
        root: semitones above the tonic, 0..11.
        intervals: of its tones above the root, in semitones, ascending from 0.
    """

    root: int
    intervals: tuple[int, ...]

    @property
    def tones(self) -> tuple[int, ...]:
        """Pitch classes above the tonic, the root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    @property
    def color(self) -> int:
        """1 with a major third, -1 with a minor one, 0 with none."""
        return (4 in self.intervals) - (3 in self.intervals)


@dataclass(frozen=True)
class Slot:
    """A chord's place in a passage, in beats from the passage's start."""

    chord: Chord
    start: float
    beats: float


@cache
def chord(numeral: str) -> Chord:
    """The chord of a Roman numeral such as ``I``, ``ii7``, ``bVII`` or ``Imaj7``.

    Degrees are those of the major scale in either mode; lower case has a minor third.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise ValueError(f"not a Roman numeral: {numeral!r}")
    shift, degree, quality = match.groups()
    root = (_DEGREES[degree.lower()] + _SHIFTS[shift]) % 12
    third = 4 if degree.isupper() else 3
    plain = {"": (0, third, 7), "7": (0, third, 7, 10)}
    return Chord(root, plain.get(quality) or _QUALITIES[quality])


def slots(progression: str, bars: int, beats: int, cadence: str = "") -> list[Slot]:
    """A progression laid over ``bars`` bars of ``beats`` beats.

    One chord a bar, repeated as needed, or two where the progression is longer than the passage.
    ``cadence``, where there is one, takes the last half bar.
    """
    chords = [chord(numeral) for numeral in progression.split()]
    first = (beats + 1) // 2
    lengths = [beats] if len(chords) <= bars else [first, beats - first]
    placed = []
    for index in range(bars * len(lengths)):
        bar, half = divmod(index, len(lengths))
        start = bar * beats + (first if half else 0)
        placed.append(Slot(chords[index % len(chords)], start, lengths[half]))
    if cadence:
        last, half = placed.pop(), bars * beats - (beats - first)
        if last.start < half:
            placed.append(Slot(last.chord, last.start, half - last.start))
        placed.append(Slot(chord(cadence), half, bars * beats - half))
    return placed


def scale_over(harmony: Chord, scale: Sequence[int]) -> tuple[int, ...]:
    """The scale bent to a chord: its altered tones replace the degrees they alter."""
    bent = set(scale)
    for interval, tone in zip(harmony.intervals, harmony.tones, strict=True):
        if tone in bent:
            continue
        raised = interval in (_MAJOR_THIRD, _MAJOR_SEVENTH)
        bent.discard((tone - 1 if raised else tone + 1) % 12)
        bent.add(tone)
    return tuple(sorted(bent))


def keys_within(classes: Sequence[int], tonic: int, low: int, high: int) -> list[int]:
    """The MIDI keys of pitch classes above a tonic, from ``low`` to ``high``, ascending."""
    wanted = {(tonic + each) % 12 for each in classes}
    return [key for key in range(low, high + 1) if key % 12 in wanted]
