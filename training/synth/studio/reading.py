"""A score as performed: an excerpt, transposed, at a tempo, by an ensemble."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..harmony import MODES, TONICS
from ..instrument import INSTRUMENTS
from ..labels import energy_words, excitement, tempo_word
from ..scores.collection import (
    COLLECTIONS,
    Collection,
    Piece,
    UnreadableScoreError,
    pieces_of,
    score,
)
from ..scores.score import Score, ScoreNote
from ..styles.style import STYLES
from ..synthesizer import Note
from .performance import Performance, Player, heard, unbroken
from .vocalist import random_vocalist

_SUNG = "voice"
_TRANSPOSITION = (-5, 6)  # semitones, the end excluded
_TEMPO_SPREAD = 1.15
_LEAST_QUARTERS = 8
_LEAD_IN_SECONDS, _TAIL_SECONDS = 0.05, 0.8
_MOST_READ = 50  # unreadable pieces in a row
_BAR_ACCENT = 8
_GENRES = tuple(STYLES)
_MOODS = ("happy", "peaceful", "sad", "tense")
_TEMPOS = ("slow", "moderate", "fast")


@dataclass(frozen=True)
class Reading:
    """A piece as it is performed.

    Args:
        piece: which.
        performance: who plays what.
        tempo_bpm: quarters a minute, where the quarter is the beat or the writer says so.
        key: as labels have it, where it is known.
        beats: in a bar, where it is known.
    """

    piece: Piece
    performance: Performance
    tempo_bpm: float | None
    key: str | None
    beats: int | None

    def labels(self) -> dict[str, Any]:
        """What is known; ``tags_unknown`` are those of which it is not known whether they hold."""
        genre = COLLECTIONS[self.piece.collection].genre
        words, unknown = heard(self.performance)
        unknown |= set(_MOODS)
        labels: dict[str, Any] = {"score": self.piece.name}
        if genre is not None:
            labels["genre"] = genre
        if genre in _GENRES:
            words.add(genre)
        else:
            unknown |= set(_GENRES)
        if self.key is not None:
            labels["key"] = self.key
            words.add(self.key.split()[1])
        else:
            unknown |= set(MODES)
        if self.tempo_bpm is not None:
            labels["tempo_bpm"] = round(self.tempo_bpm, 1)
            notes, seconds = self.performance.notes, self.performance.seconds
            words |= {tempo_word(self.tempo_bpm)}
            words |= energy_words(excitement(notes, seconds, self.tempo_bpm))
        else:
            unknown |= {*_TEMPOS, "calm", "energetic"}
        if self.beats == 3:
            words.add("triple metre")
        elif self.beats is None:
            unknown.add("triple metre")
        return {**labels, "tags": sorted(words), "tags_unknown": sorted(unknown)}


def reading(rng: np.random.Generator, split: str, seconds: float, names: list[str]) -> Reading:
    """A random piece of a split, performed for about so many seconds.

    Args:
        rng: source of every choice.
        split: whose pieces.
        seconds: about how long.
        names: of the collections.

    Raises:
        UnreadableScoreError: piece after piece cannot be read.
    """
    pools = {name: pool for name in names if (pool := pieces_of(name, split))}
    if not pools:
        raise UnreadableScoreError(f"no pieces for split {split}.")
    weights = np.array([COLLECTIONS[name].weight for name in pools])
    for _ in range(_MOST_READ):
        name = str(rng.choice(list(pools), p=weights / weights.sum()))
        piece = pools[name][int(rng.integers(len(pools[name])))]
        try:
            found = score(piece)
        except UnreadableScoreError:
            continue
        if found.quarters >= _LEAST_QUARTERS:
            performed = _performed(rng, piece, found, seconds, split == "test")
            if performed.performance.notes:
                return performed
    raise UnreadableScoreError(f"{_MOST_READ} pieces in a row cannot be read.")


def _performed(
    rng: np.random.Generator, piece: Piece, found: Score, seconds: float, held_out: bool
) -> Reading:
    collection = COLLECTIONS[piece.collection]
    tempo = _tempo(rng, collection, found)
    shift = int(rng.integers(*_TRANSPOSITION))
    wanted = seconds * rng.uniform(0.85, 1.15) * tempo / 60
    excerpt, quarters = _excerpt(rng, found, wanted)
    players, keys = _ensemble(rng, collection, found, excerpt, shift, held_out)
    beat = 60 / tempo
    level = rng.uniform(55, 100)
    looseness = rng.uniform(0.002, 0.02)
    notes = []
    for note in excerpt:
        key = keys.get((note.part, note.key))
        if key is None:
            continue
        start = max(note.start * beat + _LEAD_IN_SECONDS + rng.normal(0, looseness), 0)
        length = max(note.quarters * beat * 0.97, 0.05)
        loud = note.velocity if note.velocity is not None else level + _accent(found, note)
        velocity = int(np.clip(round(loud + rng.normal(0, 4)), 20, 124))
        notes.append(Note(note.part, start, start + length, key, velocity))
    total = quarters * beat + _LEAD_IN_SECONDS + _TAIL_SECONDS
    beats_are_quarters = found.tempo_bpm is not None or found.beats is not None
    tonality = found.key if collection.mode else None
    return Reading(
        piece,
        Performance(players, unbroken(notes), total),
        tempo if beats_are_quarters else None,
        f"{TONICS[(tonality[0] + shift) % 12]} {tonality[1]}" if tonality else None,
        found.beats,
    )


def _tempo(rng: np.random.Generator, collection: Collection, found: Score) -> float:
    if collection.tempo is not None:
        low, high = collection.tempo
        return float(low * (high / low) ** rng.random())
    marked = found.tempo_bpm or 110.0
    return float(marked * _TEMPO_SPREAD ** rng.uniform(-1, 1))


def _excerpt(
    rng: np.random.Generator, found: Score, wanted: float
) -> tuple[list[ScoreNote], float]:
    """Notes from a bar's beginning on, from 0; a piece that is shorter is played again."""
    bar = found.bar or 4.0
    latest = max(int((found.quarters - wanted) / bar), 0)
    begin = int(rng.integers(latest + 1)) * bar
    whole = float(np.ceil(found.quarters / bar) * bar)
    notes: list[ScoreNote] = []
    for turn in range(int(np.ceil((begin + wanted) / whole))):
        for note in found.notes:
            start = note.start + turn * whole - begin
            if 0 <= start < wanted:
                length = min(note.quarters, wanted - start)
                notes.append(ScoreNote(note.part, start, length, note.key, note.velocity))
    return notes, float(wanted)


def _ensemble(
    rng: np.random.Generator,
    collection: Collection,
    found: Score,
    excerpt: list[ScoreNote],
    shift: int,
    held_out: bool,
) -> tuple[tuple[Player, ...], dict[tuple[int, int], int]]:
    """The players, and the key that each note of a part sounds at; none: it cannot be played."""
    choices = collection.ensembles or ((),)
    ensemble = choices[int(rng.integers(len(choices)))]
    font_choice = float(rng.random())
    players: list[Player] = []
    keys: dict[tuple[int, int], int] = {}
    for index, part in enumerate(found.parts):
        written = sorted({note.key for note in excerpt if note.part == index})
        pan, choice = int(rng.integers(34, 95)), float(rng.random())
        if not ensemble:
            player = Player(
                None, part.program or 0, part.is_drums, None, font_choice, part.volume, pan
            )
            moved = 0 if part.is_drums else shift
            keys |= {(index, key): key + moved for key in written if 0 <= key + moved < 128}
        elif ensemble == (_SUNG,):
            middle = float(np.mean(written)) if written else 60.0
            voice = random_vocalist(rng, held_out, round(middle + shift) - 12)
            player = Player(voice=voice)
            moved = _moved(written, shift, voice.singer.lowest, voice.singer.highest)
            keys |= {(index, key): key + moved for key in written}
        else:
            name = _instrument(rng, ensemble, [key + shift for key in written])
            instrument = INSTRUMENTS[name]
            moved = _moved(written, shift, instrument.lowest, instrument.highest)
            player = Player(name, choice=choice, volume=int(rng.integers(80, 115)), pan=pan)
            keys |= {(index, key): key + moved for key in written if 0 <= key + moved < 128}
        players.append(player)
    return tuple(players), keys


def _instrument(rng: np.random.Generator, ensemble: tuple[str, ...], keys: list[int]) -> str:
    """The one of an ensemble that fits best, by chance among equals."""
    names = [str(name) for name in rng.permutation(list(ensemble))]
    return max(names, key=lambda name: _fitting(keys, name))


def _fitting(keys: list[int], name: str) -> int:
    return sum(INSTRUMENTS[name].lowest <= key <= INSTRUMENTS[name].highest for key in keys)


def _moved(keys: list[int], shift: int, lowest: int, highest: int) -> int:
    """The shift by which most keys are in a range, by whole octaves from the one wanted."""
    return max(
        (shift + octave for octave in (0, 12, -12, 24, -24)),
        key=lambda each: sum(lowest <= key + each <= highest for key in keys),
    )


def _accent(found: Score, note: ScoreNote) -> float:
    bar = found.bar or 4.0
    return _BAR_ACCENT if note.start % bar == 0 else 0.0
