"""Patterns in time: drum grooves with fills, accompanying figures, swing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .harmony import Slot
from .styles.style import DRUMS, STEPS_PER_BEAT, Groove

_LOUDNESS = {"X": 18, "x": 6, "g": -18}
_SOFTER = {"snare": "rim", "clap": "rim", "open": "hat"}
_SOFTER_VELOCITY = -10
_HIT_BEATS = 0.2


@dataclass(frozen=True)
class Stroke:
    """One tone of a passage: beats from its start, a MIDI key, velocity over the song's."""

    start: float
    beats: float
    key: int
    velocity: int = 0


def drums(
    rng: np.random.Generator, groove: Groove, bars: int, beats: int, label: str
) -> list[Stroke]:
    """A section's drums: soft in A, full with a cymbal in B, bare in C; the last bar has a fill."""
    lines = _softer(groove) if label == "A" else groove
    if label == "C":
        lines = {
            name: line for name, line in lines.items() if name not in ("snare", "clap", "kick")
        }
    quieter = 0 if label == "B" else _SOFTER_VELOCITY
    strokes = [
        Stroke(
            bar * beats + step / STEPS_PER_BEAT, _HIT_BEATS, DRUMS[name], _LOUDNESS[hit] + quieter
        )
        for bar in range(bars)
        for name, line in lines.items()
        for step, hit in enumerate(line)
        if hit != "."
    ]
    if label == "B":
        strokes.append(Stroke(0, _HIT_BEATS, DRUMS["cymbal"], _LOUDNESS["X"]))
    return strokes + _fill(rng, bars * beats, int(rng.integers(1, 3)))


def figure(
    pattern: str, slot: Slot, beats: int, tones: Sequence[int], gate: float, walk: Iterator[int]
) -> list[Stroke]:
    """A figure over one chord's slot: its characters are those of ``style.Role``.

    Args:
        pattern: a bar of ``beats`` beats.
        slot: where the chord is; not longer than a bar.
        beats: in a bar.
        tones: the chord's voicing, MIDI keys ascending.
        gate: the sounding share of the written lengths.
        walk: keys for the steps of a walking bass.
    """
    first = round((slot.start % beats) * STEPS_PER_BEAT)
    steps = pattern[first : first + round(slot.beats * STEPS_PER_BEAT)]
    if steps[0] == "-":
        # A new chord is struck anew.
        steps = pattern[:first].rstrip("-")[-1:].replace("w", "0") + steps[1:]
    strokes = []
    for index, symbol in enumerate(steps):
        if symbol in "-.":
            continue
        held = len(steps[index + 1 :]) - len(steps[index + 1 :].lstrip("-"))
        keys = (
            [next(walk)]
            if symbol == "w"
            else list(tones)
            if symbol == "C"
            else [_tone(tones, symbol)]
        )
        start = slot.start + index / STEPS_PER_BEAT
        strokes += [Stroke(start, (1 + held) / STEPS_PER_BEAT * gate, key) for key in keys]
    return strokes


def swung(beat: float, swing: float) -> float:
    """The time of a beat's fraction when its off-beat lies at ``swing`` instead of one half."""
    whole, part = divmod(beat, 1)
    late = part * 2 * swing if part < 0.5 else swing + (part - 0.5) * 2 * (1 - swing)
    return whole + late


def _tone(tones: Sequence[int], digit: str) -> int:
    octave, index = divmod(int(digit), len(tones))
    return tones[index] + 12 * octave


def _softer(groove: Groove) -> Groove:
    return {_SOFTER.get(name, name): line for name, line in groove.items() if name != "cymbal"}


def _fill(rng: np.random.Generator, end: float, beats: int) -> list[Stroke]:
    steps = [step for step in range(beats * STEPS_PER_BEAT) if step % 2 == 0 or rng.random() < 0.6]
    names = ["snare"] * 3 + ["tom"] * 2
    return [
        Stroke(
            end - beats + step / STEPS_PER_BEAT,
            _HIT_BEATS,
            DRUMS[names[int(rng.integers(len(names)))]],
            int(rng.integers(-6, 12)),
        )
        for step in steps
    ]
