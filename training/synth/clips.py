"""Clips: phrases of a singer, single notes of an instrument."""

from dataclasses import dataclass

import numpy as np

from .instrument import INSTRUMENTS
from .singer import VOWELS, Singer
from .voice import Sung, Technique

_PHRASE_SECONDS = (3.7, 4.3)
_NOTE_SECONDS = (2.7, 3.3)
_LEAD_IN_SECONDS = (0.02, 0.2)
_PHRASES: tuple[tuple[int, ...], ...] = (
    (0,),
    (0, 2, 4, 5, 7),
    (7, 5, 4, 2, 0),
    (0, 2, 4, 2, 0),
    (0, 4, 7, 12),
    (0, 4, 7, 4, 0),
    (0, 3, 7, 12, 7, 3, 0),
    (0, 2, 3, 5, 7, 8, 10, 12),
)
_MOST_SUSTAINED = 3  # notes of a phrase that is about long ones


@dataclass(frozen=True)
class Phrase:
    """A sung phrase."""

    notes: tuple[Sung, ...]
    seconds: float


@dataclass(frozen=True)
class NoteClip:
    """One note of one instrument: when it sounds, in seconds, and for how long the clip is."""

    instrument: str
    choice: float
    key: int
    velocity: int
    start: float
    end: float
    seconds: float


def phrase(rng: np.random.Generator, singer: Singer, technique: Technique) -> Phrase:
    """A scale, an arpeggio or a long tone in a singer's range, on changing vowels."""
    seconds = float(rng.uniform(*_PHRASE_SECONDS))
    steps = _PHRASES[int(rng.integers(len(_PHRASES)))]
    if technique.sustained:
        steps = steps[: int(rng.integers(1, _MOST_SUSTAINED + 1))]
    headroom = singer.highest - max(steps) - technique.trill
    root = int(rng.integers(singer.lowest, headroom + 1))
    vowels = rng.choice(list(VOWELS), size=2)
    lead_in = float(rng.uniform(*_LEAD_IN_SECONDS))
    edges = np.linspace(lead_in, seconds - lead_in, len(steps) + 1)
    notes = tuple(
        Sung(float(start), float(end), root + step, str(vowels[index % 2]))
        for index, (start, end, step) in enumerate(zip(edges, edges[1:], steps, strict=False))
    )
    return Phrase(notes, seconds)


def note_clip(rng: np.random.Generator) -> NoteClip:
    """One note: which instrument, how high, how loud and how long is up to ``rng``."""
    name = str(rng.choice(list(INSTRUMENTS)))
    instrument = INSTRUMENTS[name]
    seconds = float(rng.uniform(*_NOTE_SECONDS))
    start = float(rng.uniform(*_LEAD_IN_SECONDS))
    return NoteClip(
        name,
        float(rng.random()),
        int(rng.integers(instrument.lowest, instrument.highest + 1)),
        int(rng.integers(45, 121)),
        start,
        start + float(rng.uniform(0.4, 2.2)),
        seconds,
    )
