"""Valence, arousal and tags, computed from the notes of a song rather than from its mood.

Both are weighted sums, clipped to -1..1, of quantities scaled so that the usual range of music
maps to -1..1:

    arousal = 0.40 tempo + 0.35 density + 0.25 velocity, times 1.3
    valence = 0.60 mode + 0.20 tempo + 0.10 register + 0.10 harmony

tempo is the binary logarithm of the quarter notes a minute over 105; density half the binary
logarithm of the onsets a second over 8; velocity the mean MIDI velocity from 80 by 30; mode 1 in
major and -1 in minor; register the melody's mean key from 70 by 14; harmony the share of time over
major chords less that over minor ones.
"""

import math
from collections.abc import Sequence

import numpy as np

from .arrangement import VOICE
from .instrument import INSTRUMENTS, KITS
from .song import Song
from .synthesizer import Note

_SPREAD = 1.3
_CLEAR = 0.25  # a mood word needs so much valence or arousal
_SLOW_BPM, _FAST_BPM = 85, 130


def arousal(song: Song) -> float:
    """Arousal of the song, from -1 (calm) to 1 (excited)."""
    return excitement(song.notes, song.seconds, song.tempo_bpm)


def excitement(notes: Sequence[Note], seconds: float, tempo_bpm: float) -> float:
    """Arousal of some notes, from -1 (calm) to 1 (excited)."""
    onsets = len({round(note.start, 2) for note in notes}) / seconds
    density = _unit(math.log2(onsets / 4) / 2)
    velocity = _unit((float(np.mean([note.velocity for note in notes])) - 80) / 30)
    return _unit(_SPREAD * (0.40 * _tempo(tempo_bpm) + 0.35 * density + 0.25 * velocity))


def valence(song: Song) -> float:
    """Valence of the song, from -1 (sad) to 1 (happy)."""
    tune = song.notes_of("lead") or song.notes_of("second")
    register = _unit((float(np.mean([note.key for note in tune])) - 70) / 14)
    mode = 1 if song.mode == "major" else -1
    return _unit(
        0.60 * mode + 0.20 * _tempo(song.tempo_bpm) + 0.10 * register + 0.10 * song.harmony_color
    )


def tags(song: Song) -> list[str]:
    """Words for the song: genre, mode, metre, tempo, mood, and its instruments."""
    heard = {song.band.parts[index].instrument for index in {note.part for note in song.notes}}
    words = {song.genre, song.mode, *_moods(valence(song), arousal(song))}
    words |= {(INSTRUMENTS | KITS)[name].family for name in heard - {VOICE}}
    words.add("vocals" if VOICE in heard else "instrumental")
    words.add(tempo_word(song.tempo_bpm))
    if song.beats == 3:
        words.add("triple metre")
    return sorted(words)


def tempo_word(tempo_bpm: float) -> str:
    """slow, moderate or fast."""
    slow, fast = tempo_bpm < _SLOW_BPM, tempo_bpm > _FAST_BPM
    return "slow" if slow else "fast" if fast else "moderate"


def energy_words(excited: float) -> set[str]:
    """energetic, calm or neither."""
    return {"energetic" if excited > 0 else "calm"} if abs(excited) > _CLEAR else set()


def _moods(glad: float, excited: float) -> set[str]:
    words = energy_words(excited)
    if abs(glad) > _CLEAR:
        words.add("happy" if glad > 0 else "sad")
    if glad < -_CLEAR and excited > _CLEAR:
        words.add("tense")
    if glad > _CLEAR and excited < -_CLEAR:
        words.add("peaceful")
    return words


def _tempo(tempo_bpm: float) -> float:
    return _unit(math.log2(tempo_bpm / 105))


def _unit(value: float) -> float:
    return min(max(value, -1.0), 1.0)
