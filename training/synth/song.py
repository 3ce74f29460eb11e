"""A song: its form, its mood and every part, as notes with labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .arrangement import Band, Passage, band, passage
from .harmony import MODES, TONICS
from .mood import Mood
from .rhythm import swung
from .singer import Singer
from .styles.style import STYLES, Style
from .synthesizer import Note

# No section follows one of its own kind: that boundary would be inaudible.
_FORMS = ("ABA", "ABC", "ABAB", "ABAC", "ABCB", "ABCA", "ABACA", "ABCAB", "ABABCB", "ABACAB")
_MOST_BARS = 9
_LENGTH_SPREAD = 0.15
_ENDING_SECONDS = 2.5
_TAIL_SECONDS = 0.8
_LEAD_IN_SECONDS = 0.05
_LEAST_GAP_SECONDS = 0.01
_SECTION_VELOCITY = {"A": -3, "B": 8, "C": -9}
_VELOCITY_SPREAD = 4.0
_VELOCITIES = (20, 124)


class Section(NamedTuple):
    """A section in seconds and its label."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Song:
    """A composed song.

    Args:
        genre: a name in ``STYLES``.
        tonic: pitch class of the key.
        mode: major or minor.
        tempo_bpm: quarter notes a minute.
        beats: in a bar.
        sections: contiguous, from 0 to the song's end.
        band: who plays.
        notes: of all parts, by start; a part never strikes a key that still sounds.
        harmony_color: the share of time over major chords less that over minor ones.
    """

    genre: str
    tonic: int
    mode: str
    tempo_bpm: float
    beats: int
    sections: tuple[Section, ...]
    band: Band
    notes: tuple[Note, ...]
    harmony_color: float

    @property
    def key(self) -> str:
        """Such as ``F# minor``."""
        return f"{TONICS[self.tonic]} {self.mode}"

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.sections[-1].end

    @property
    def singer(self) -> Singer | None:
        """Who sings the lead, if it is sung."""
        return self.band.singer

    def notes_of(self, role: str) -> list[Note]:
        """The notes of one role: lead, second, comp, bass, pad or drums."""
        parts = {index for index, part in enumerate(self.band.parts) if part.role == role}
        return [note for note in self.notes if note.part in parts]


def compose(rng: np.random.Generator, seconds: float, held_out: bool = False) -> Song:
    """Compose a song of about so many seconds.

    Args:
        rng: source of every choice.
        seconds: about how long.
        held_out: whether at least half the parts take presets kept from training.
    """
    genre = str(rng.choice(list(STYLES)))
    style = STYLES[genre]
    tonic, mode = int(rng.integers(12)), str(rng.choice(MODES))
    mood = Mood.sample(rng)
    tempo = mood.tempo(style.tempo_bpm)
    beats = int(rng.choice(style.metres))
    players = band(rng, style, beats, mood, held_out)

    wanted = seconds * rng.uniform(1 - _LENGTH_SPREAD, 1 + _LENGTH_SPREAD) - _ENDING_SECONDS
    form, bars = _form(rng, wanted * tempo / 60 / beats)
    progressions = dict(zip("ABC", _progressions(rng, getattr(style, mode)), strict=True))
    passages = {
        label: passage(rng, players, label, progressions[label], bars[label], tonic, mode)
        for label in sorted(set(form))
    }
    beat_seconds = 60 / tempo
    starts = np.cumsum([0, *(bars[label] * beats for label in form)])
    notes = []
    for label, start in zip(form, starts, strict=False):
        velocity = mood.velocity + _SECTION_VELOCITY[label]
        notes += _played(rng, passages[label], float(start), beat_seconds, velocity, style)
    ending = players.ending(tonic, mode, _ENDING_SECONDS / beat_seconds)
    notes += _played(rng, ending, float(starts[-1]), beat_seconds, mood.velocity, style)

    edges = [0.0, *(float(start) * beat_seconds + _LEAD_IN_SECONDS for start in starts[1:])]
    edges[-1] += _ENDING_SECONDS + _TAIL_SECONDS
    return Song(
        genre,
        tonic,
        mode,
        tempo,
        beats,
        tuple(Section(a, b, label) for (a, b), label in zip(pairwise(edges), form, strict=True)),
        players,
        tuple(sorted(_unbroken(notes), key=lambda note: (note.start, note.part, note.key))),
        _color([passages[label] for label in form]),
    )


def _form(rng: np.random.Generator, bars: float) -> tuple[str, dict[str, int]]:
    """A form and the bars of each of its sections, so many in all."""
    fitting = [form for form in _FORMS if bars / _MOST_BARS <= len(form) <= max(bars / 2, 3)]
    form = str(rng.choice(fitting or list(_FORMS[:2])))
    weights = {label: rng.uniform(0.7, 1.3) for label in "ABC"}
    unit = bars / sum(weights[label] for label in form)
    return form, {label: max(round(unit * weight), 1) for label, weight in weights.items()}


def _progressions(rng: np.random.Generator, choices: Sequence[str]) -> list[str]:
    """Three different ones; the first, for A, is among the two that begin on the tonic."""
    first = int(rng.integers(2))
    others = [index for index in range(len(choices)) if index != first]
    chosen = rng.choice(others, size=2, replace=False)
    return [choices[first], *(choices[int(index)] for index in chosen)]


def _played(
    rng: np.random.Generator,
    played: Passage,
    start: float,
    beat_seconds: float,
    velocity: float,
    style: Style,
) -> list[Note]:
    """A passage in seconds, with human timing and dynamics."""
    notes = []
    for part, strokes in played.strokes.items():
        for stroke in strokes:
            late = rng.normal(0, style.looseness_s) + _LEAD_IN_SECONDS
            begin = swung(start + stroke.start, style.swing) * beat_seconds
            end = swung(start + stroke.start + stroke.beats, style.swing) * beat_seconds
            loud = velocity + stroke.velocity + rng.normal(0, _VELOCITY_SPREAD)
            notes.append(
                Note(
                    part,
                    max(begin + late, 0.0),
                    max(end + late, begin + late + 0.03),
                    stroke.key,
                    int(np.clip(round(loud), *_VELOCITIES)),
                )
            )
    return notes


def _unbroken(notes: Sequence[Note]) -> list[Note]:
    """Notes cut where their part strikes the same key again."""
    ordered = sorted(notes, key=lambda note: (note.part, note.key, note.start))
    cut = []
    for note, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following and (following.part, following.key) == (note.part, note.key):
            note = replace(note, end=min(note.end, following.start - _LEAST_GAP_SECONDS))
        if note.end > note.start:
            cut.append(note)
    return cut


def _color(passages: Sequence[Passage]) -> float:
    slots = [slot for each in passages for slot in each.slots]
    return sum(s.chord.color * s.beats for s in slots) / sum(s.beats for s in slots)
