"""The players of a song, its mood, and the parts of a section."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .harmony import PENTATONIC, SCALES, Chord, Slot, chord, keys_within, slots
from .instrument import INSTRUMENTS
from .melody import melody, walking
from .mood import Mood
from .rhythm import Stroke, drums, figure
from .singer import Singer, random_singer
from .styles.style import STEPS_PER_BEAT, Groove, Role, Style

VOICE = "voice"

_SUNG_SHARE = 0.25
_DOUBLED_SHARE = 0.6
_DOUBLING_VELOCITY = -8
_SILENT_DRUMS_SHARE = 0.5  # of bridges
_LEAD_CENTER = 70
_LEAD_REACH = 9  # semitones a melody leaves its centre by
_CHORUS_RISE = 7
_SECTION_DENSITY = {"A": 0.8, "B": 1.0, "C": 0.5}
_PAD_CENTER = 60
_PAD_VELOCITY = -8
# Semitones that a voicing and its figure need around its centre.
_ROOM_BELOW, _ROOM_ABOVE = 5, 20
_VOLUMES = {"lead": 112, "second": 92, "comp": 84, "bass": 98, "pad": 66, "drums": 96}
_VOLUME_SPREAD = 8


@dataclass(frozen=True)
class Part:
    """One part: its role, its instrument (a kit for drums, or VOICE) and which preset.

    Args:
        choice: of the preset among the instrument's, 0..1.
        held_out: whether it is kept from training.
        volume: MIDI volume, as pan.
        pan: 64 is the middle.
    """

    role: str
    instrument: str
    choice: float
    held_out: bool
    volume: int
    pan: int


@dataclass(frozen=True)
class Band:
    """The parts of a song and what they have in common."""

    style: Style
    beats: int
    mood: Mood
    parts: tuple[Part, ...]
    groove: Groove | None
    singer: Singer | None

    def index(self, role: str) -> int | None:
        """The part with a role, if there is one."""
        return next((i for i, part in enumerate(self.parts) if part.role == role), None)

    def range_of(self, index: int) -> tuple[int, int]:
        """The lowest and highest key of a part."""
        name = self.parts[index].instrument
        if name == VOICE and self.singer:
            return self.singer.lowest, self.singer.highest
        return INSTRUMENTS[name].lowest, INSTRUMENTS[name].highest

    def ending(self, tonic: int, mode: str, beats: float) -> "Passage":
        """The tonic, held by all parts."""
        last = Slot(chord("I" if mode == "major" else "i"), 0, beats)
        strokes = {}
        for index, part in enumerate(self.parts):
            if part.role == "drums":
                strokes[index] = [Stroke(0, 0.2, 36, 6), Stroke(0, 0.2, 49, 6)]
            elif part.role == "lead":
                low, high = self.range_of(index)
                center = _center(_LEAD_CENTER + self.mood.shift, low, high)
                key = _nearest(keys_within((0,), tonic, low, high), center)
                strokes[index] = [Stroke(0, beats, key)]
            elif part.role in ("comp", "bass"):
                tones = self.voicing(index, last.chord, tonic)
                tones = tones[:1] if part.role == "bass" else tones
                strokes[index] = [Stroke(0, beats, key) for key in tones]
        return Passage([last], strokes)

    def voicing(self, index: int, harmony: Chord, tonic: int) -> list[int]:
        """A chord as an accompanying part plays it: MIDI keys, ascending."""
        role = {"comp": self.style.comp, "bass": self.style.bass}.get(self.parts[index].role)
        low, high = self.range_of(index)
        center = min(
            max(role.center if role else _PAD_CENTER, low + _ROOM_BELOW), high - _ROOM_ABOVE
        )
        root = keys_within((harmony.root,), tonic, center - 5, center + 6)[0]
        if role is None or role.voicing == "close":
            return keys_within(harmony.tones, tonic, center - 5, center + 6)
        if role.voicing == "power":
            return [root, root + 7, root + 12]
        return [root + interval for interval in harmony.intervals]


@dataclass(frozen=True)
class Passage:
    """A section's chords, and each part's strokes."""

    slots: list[Slot]
    strokes: dict[int, list[Stroke]]


def band(rng: np.random.Generator, style: Style, beats: int, mood: Mood, held_out: bool) -> Band:
    """The players of a song; with ``held_out`` at least half take presets kept from training."""
    singer = random_singer(rng) if rng.random() < _SUNG_SHARE else None
    lead, second = (str(each) for each in rng.choice(style.lead, size=2, replace=False))
    comp = str(rng.choice(style.comp.instruments)) if style.comp.instruments else lead
    names = {"lead": VOICE if singer else lead, "second": second, "comp": comp}
    if style.bass:
        names["bass"] = str(rng.choice(style.bass.instruments))
    names["pad"] = str(rng.choice(style.pads))
    kit = str(rng.choice(style.kits)) if style.kits else ""
    grooves = [g for g in style.grooves if len(min(g.values())) == beats * STEPS_PER_BEAT]
    if kit and grooves:
        names["drums"] = kit
    order = rng.permutation(len(names))
    parts = tuple(
        Part(
            role,
            name,
            float(rng.random()),
            held_out and bool(order[index] < (len(names) + 1) // 2),
            int(np.clip(_VOLUMES[role] + rng.normal(0, _VOLUME_SPREAD), 40, 127)),
            int(rng.integers(34, 95)),
        )
        for index, (role, name) in enumerate(names.items())
    )
    groove = grooves[min(int(mood.density * len(grooves)), len(grooves) - 1)] if grooves else None
    return Band(style, beats, mood, parts, groove if "drums" in names else None, singer)


def passage(
    rng: np.random.Generator,
    players: Band,
    label: str,
    progression: str,
    bars: int,
    tonic: int,
    mode: str,
) -> Passage:
    """A section: A is sparse and low, B full and high, C thin and led by another instrument."""
    style, beats = players.style, players.beats
    chords = slots(progression, bars, beats, style.cadence)
    scale = (PENTATONIC if style.pentatonic else SCALES)[mode]
    strokes = _tune(rng, players, label, chords, tonic, scale)
    thin = label == "C"
    for role, name in ((style.comp, "comp"), (style.bass, "bass")):
        part = players.index(name)
        if role is None or part is None:
            continue
        pattern = role.figures[0] if thin else players.mood.choose(role.figures, beats)
        strokes[part] = _accompaniment(
            rng, players, part, role, pattern, chords, tonic, SCALES[mode]
        )
    pad = players.index("pad")
    if label == "B" and pad is not None:
        strokes[pad] = [
            Stroke(slot.start, slot.beats, key, _PAD_VELOCITY)
            for slot in chords
            for key in players.voicing(pad, slot.chord, tonic)
        ]
    kit = players.index("drums")
    if players.groove and kit is not None and not (thin and rng.random() < _SILENT_DRUMS_SHARE):
        strokes[kit] = drums(rng, players.groove, bars, beats, label)
    return Passage(chords, strokes)


def _tune(
    rng: np.random.Generator,
    players: Band,
    label: str,
    chords: Sequence[Slot],
    tonic: int,
    scale: Sequence[int],
) -> dict[int, list[Stroke]]:
    """The melody of a section, and who else plays it."""
    mood = players.mood
    part = players.index("second" if label == "C" and players.singer is None else "lead")
    assert part is not None
    center = _center(_LEAD_CENTER + mood.shift, *players.range_of(part))
    center += _CHORUS_RISE if label == "B" else 0
    density = mood.density * _SECTION_DENSITY[label]
    tune = melody(rng, chords, players.beats, tonic, scale, center, density, mood.gate)
    doubled = label == "B" and rng.random() < _DOUBLED_SHARE
    return {part: tune, **(_doubling(players, tune) if doubled else {})}


def _accompaniment(
    rng: np.random.Generator,
    players: Band,
    part: int,
    role: Role,
    pattern: str,
    chords: Sequence[Slot],
    tonic: int,
    scale: Sequence[int],
) -> list[Stroke]:
    low, high = players.range_of(part)
    strokes = []
    for slot in chords:
        tones = players.voicing(part, slot.chord, tonic)
        reach = max(tones[0] - 5, low), min(tones[0] + 7, high)
        walk = walking(rng, slot.chord, tonic, scale, *reach)
        for stroke in figure(pattern, slot, players.beats, tones, role.gate, walk):
            strokes.append(Stroke(stroke.start, stroke.beats, stroke.key, role.velocity))
    return strokes


def _doubling(players: Band, tune: Sequence[Stroke]) -> dict[int, list[Stroke]]:
    index = players.index("second")
    if index is None:
        return {}
    low, high = players.range_of(index)
    mean = float(np.mean([stroke.key for stroke in tune]))
    shift = min((-12, 0, 12), key=lambda octave: abs(mean + octave - (low + high) / 2))
    return {
        index: [
            Stroke(each.start, each.beats, each.key + shift, each.velocity + _DOUBLING_VELOCITY)
            for each in tune
            if low <= each.key + shift <= high
        ]
    }


def _center(wanted: int, low: int, high: int) -> int:
    """A melody's centre that leaves it room in a range, and to rise in the chorus."""
    return min(max(wanted, low + _LEAD_REACH), max(high - _LEAD_REACH - _CHORUS_RISE, low))


def _nearest(keys: Sequence[int], center: int) -> int:
    return min(keys, key=lambda key: abs(key - center))
