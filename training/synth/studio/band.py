"""A performance as sound: soundfonts, guitars through amplifiers, voices over the band."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..effects.amplifier import Amplifier
from ..effects.compressor import Compressor
from ..item import lyrics
from ..singer import Singer
from ..synthesizer import Channel, Note, Synthesizer
from ..voice import SONG_TECHNIQUE, Sung, sing
from .performance import Performance, Player
from .vocalist import Vocalist

_CLEAN, _DISTORTED = (26, 27, 28), (29, 30, 31)
_PLUGGED_IN = 0.65  # of distorted guitars: a clean one into much gain, as it is really done
_GAINS_DB = {"plugged in": (24.0, 46.0), "distorted": (4.0, 18.0), "warm": (0.0, 14.0)}
_WARM_SHARE = 0.5  # of clean electric guitars and of basses
_VOICE_OVER_BAND_DB = (-3.0, 6.0)
_GLIDE_GAP_SECONDS = 0.005


@dataclass(frozen=True)
class _Track:
    """A player as recorded: perhaps another instrument, perhaps amplified."""

    player: Player
    amplifier: Amplifier | None


def played(
    rng: np.random.Generator,
    performance: Performance,
    synthesizer: Synthesizer,
    cents: float,
    held_out: bool,
) -> np.ndarray:
    """The mix, (samples,) at 24 kHz.

    Args:
        rng: amplifiers, syllables, balance.
        performance: who plays what.
        synthesizer: with the soundfonts.
        cents: tuning.
        held_out: whether the fonts kept for tests play.
    """
    tracks = [_tracked(rng, player) for player in performance.players]
    amplified = {index for index, track in enumerate(tracks) if track.amplifier is not None}
    sung = {i for i, player in enumerate(performance.players) if player.voice is not None}
    rest = set(range(len(tracks))) - amplified - sung

    def rendered(parts: set[int]) -> np.ndarray:
        chosen = sorted(parts)
        place = {part: index for index, part in enumerate(chosen)}
        channels = [
            Channel(player.preset(synthesizer, held_out), player.volume, player.pan)
            for player in (tracks[part].player for part in chosen)
        ]
        notes = [replace(n, part=place[n.part]) for n in performance.notes if n.part in place]
        return synthesizer.render(channels, notes, performance.seconds, cents).mean(axis=0)

    band = rendered(rest).astype(np.float64)
    for part in sorted(amplified):
        amplifier = tracks[part].amplifier
        assert amplifier is not None
        band += amplifier.amplified(rendered({part}).astype(np.float64))
    return _with_voices(rng, performance, sung, band, cents)


def _tracked(rng: np.random.Generator, player: Player) -> _Track:
    name, program = player.instrument, player.program
    known = player.voice is None and not player.is_drums
    distorted = name == "distorted guitar" or (name is None and program in _DISTORTED)
    clean = name in ("electric guitar", "electric bass") or (
        name is None and (program in _CLEAN or 33 <= program <= 37)
    )
    plugged, warm = rng.random(2)
    if known and distorted:
        kind = "plugged in" if plugged < _PLUGGED_IN else "distorted"
        if kind == "plugged in":
            player = replace(player, instrument="electric guitar")
        return _Track(player, Amplifier.sample(rng, _GAINS_DB[kind]))
    if known and clean and warm < _WARM_SHARE:
        return _Track(player, Amplifier.sample(rng, _GAINS_DB["warm"]))
    return _Track(player, None)


def _with_voices(
    rng: np.random.Generator,
    performance: Performance,
    sung: set[int],
    band: np.ndarray,
    cents: float,
) -> np.ndarray:
    level = np.sqrt(np.mean(band**2))
    voices = np.zeros_like(band)
    for part in sorted(sung):
        melody = _melody([note for note in performance.notes if note.part == part])
        who = performance.players[part].voice
        if not melody or who is None:
            continue
        voice = _sung(rng, who, lyrics(rng, melody), performance.seconds)
        voices += Compressor.sample(rng).compressed(voice)
    if not voices.any() or level == 0:
        return band + voices
    over = level / np.sqrt(np.mean(voices**2)) * 10 ** (rng.uniform(*_VOICE_OVER_BAND_DB) / 20)
    return band + voices * over


def _sung(
    rng: np.random.Generator, who: Vocalist | Singer, tune: list[Sung], seconds: float
) -> np.ndarray:
    if isinstance(who, Vocalist):
        return who.sung(rng, tune, seconds)
    return sing(rng, who, SONG_TECHNIQUE, tune, seconds).astype(np.float64)


def _melody(notes: list[Note]) -> list[Note]:
    """One note at a time, as a voice sings: of notes struck together the highest."""
    highest: dict[float, Note] = {}
    for note in notes:
        if note.start not in highest or highest[note.start].key < note.key:
            highest[note.start] = note
    ordered = sorted(highest.values(), key=lambda note: note.start)
    tune = [
        replace(note, end=min(note.end, following.start - _GLIDE_GAP_SECONDS))
        for note, following in pairwise(ordered)
    ]
    return [note for note in [*tune, *ordered[-1:]] if note.end > note.start]
