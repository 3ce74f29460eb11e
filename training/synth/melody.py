"""Melodies: motifs that follow the chords and come again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .harmony import Chord, Slot, keys_within, scale_over
from .rhythm import Stroke

_SPAN = 9  # semitones a melody may leave its centre by
_LEAPS = (-2, -1, -1, 0, 1, 1, 2)
_SEMITONES_PER_LEAP = 2.0
_PULL = 0.25  # of the way back to the centre, a note
_BAR_FORMS = ("abac", "aabc", "abab", "aaba")
_HOMING = 1.5  # semitones by which the tonic seems nearer than it is
_ACCENT = 6


@dataclass(frozen=True)
class Motif:
    """A bar's moves: onsets in beats, and the leap to each in steps of about a second."""

    moves: tuple[tuple[float, int], ...]


def melody(
    rng: np.random.Generator,
    slots: Sequence[Slot],
    beats: int,
    tonic: int,
    scale: Sequence[int],
    center: int,
    density: float,
    gate: float,
) -> list[Stroke]:
    """A melody over a passage, its last note held.

    Args:
        rng: chooses motifs and notes.
        slots: the passage's chords.
        beats: in a bar.
        tonic: pitch class of the key.
        scale: pitch classes above the tonic.
        center: MIDI key it moves around, by less than an octave.
        density: 0 sparse .. 1 dense.
        gate: the sounding share of a written length.
    """
    motifs = {name: _motif(rng, beats, density) for name in "abc"}
    form = _BAR_FORMS[int(rng.integers(len(_BAR_FORMS)))]
    end = slots[-1].start + slots[-1].beats
    moves = [
        (bar * beats + onset, leap)
        for bar in range(round(end / beats))
        for onset, leap in motifs[form[bar % 4]].moves
    ]
    # The last bar comes to rest.
    moves = [move for move in moves if move[0] <= end - beats / 2]
    pitch = float(center)
    strokes = []
    for (start, leap), following in zip(moves, [*(at for at, _ in moves[1:]), end], strict=True):
        slot = next(each for each in reversed(slots) if each.start <= start)
        wanted = pitch + _SEMITONES_PER_LEAP * leap + _PULL * (center - pitch)
        strong = start == slot.start or start % 2 == 0
        allowed = slot.chord.tones if strong else scale_over(slot.chord, scale)
        ladder = keys_within(allowed, tonic, center - _SPAN, center + _SPAN)
        key = min(ladder, key=lambda each: _distance(each, wanted, tonic))
        length = min(following - start, beats) * gate
        strokes.append(Stroke(start, length, key, _ACCENT if start % beats == 0 else 0))
        pitch = float(key)
    return strokes


def walking(
    rng: np.random.Generator, harmony: Chord, tonic: int, scale: Sequence[int], low: int, high: int
) -> Iterator[int]:
    """Endless steps of a bass line: scale tones from ``low`` to ``high``, up and down."""
    tones = keys_within(scale_over(harmony, scale), tonic, low, high)
    index = int(rng.integers(len(tones)))
    while True:
        index = min(max(index + int(rng.choice([-1, 1, 1])), 0), len(tones) - 1)
        yield tones[index]


def _distance(key: int, wanted: float, tonic: int) -> float:
    return abs(key - wanted) - (_HOMING if key % 12 == tonic else 0)


def _motif(rng: np.random.Generator, beats: int, density: float) -> Motif:
    chances = {0.0: 0.5 + 0.5 * density, 0.5: 0.05 + 0.75 * density, 0.75: 0.5 * density - 0.25}
    onsets = [
        beat + part
        for beat in range(beats)
        for part, chance in chances.items()
        if beat + part == 0 or rng.random() < chance
    ]
    leaps = rng.choice(_LEAPS, size=len(onsets))
    return Motif(tuple((onset, int(leap)) for onset, leap in zip(onsets, leaps, strict=True)))
