"""MIDI files, read by mido: their notes, programs and tempo."""

import io
from collections import Counter
from dataclasses import dataclass, field

from .score import Score, ScoreNote, ScorePart

_DRUM_CHANNEL = 9
_MOST_PARTS = 15
_MOST_SECONDS = 1200
_DEFAULT_TEMPO = 500_000  # microseconds a quarter
_VOLUME = 7
# Slower or faster is a writer's trick of counting, not the tempo.
_CREDIBLE_BPM = (40.0, 220.0)

PartKey = tuple[int, int, bool]  # channel, program, whether drums


@dataclass
class _Reader:
    """The state of a file's channels, and what has been found."""

    programs: dict[int, int] = field(default_factory=dict)
    volumes: dict[int, int] = field(default_factory=dict)
    sounding: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict)
    notes: list[tuple[PartKey, float, float, int, int]] = field(default_factory=list)
    part_volumes: dict[PartKey, int] = field(default_factory=dict)

    def end(self, channel: int, key: int, now: float) -> None:
        """A key is released, or struck again."""
        struck = self.sounding.pop((channel, key), None)
        if struck is None or now <= struck[0]:
            return
        part = (channel, self.programs.get(channel, 0), channel == _DRUM_CHANNEL)
        self.part_volumes.setdefault(part, self.volumes.get(channel, 100))
        self.notes.append((part, struck[0], now, key, struck[1]))


def read_midi(data: bytes) -> Score:
    """A MIDI file as a score, in quarters of the tempo that holds longest.

    Raises:
        ValueError: it is too long.
        Exception: whatever mido raises at a file that it cannot read.
    """
    import mido

    reader, now, tempo = _Reader(), 0.0, _DEFAULT_TEMPO
    tempos: Counter[int] = Counter()
    for message in mido.MidiFile(file=io.BytesIO(data), clip=True):  # times are seconds here
        now += message.time
        tempos[tempo] += round(message.time * 1000)
        if now > _MOST_SECONDS:
            raise ValueError(f"over {_MOST_SECONDS} s.")
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type == "program_change":
            reader.programs[message.channel] = message.program
        elif message.type == "control_change" and message.control == _VOLUME:
            reader.volumes[message.channel] = message.value
        elif message.type in ("note_on", "note_off"):
            reader.end(message.channel, message.note, now)
            if message.type == "note_on" and message.velocity:
                reader.sounding[message.channel, message.note] = (now, message.velocity)
    for channel, key in list(reader.sounding):
        reader.end(channel, key, now)
    bpm = mido.tempo2bpm(tempos.most_common(1)[0][0]) if tempos else 120.0
    return _score(reader, bpm)


def _score(reader: _Reader, bpm: float) -> Score:
    counted = Counter(note[0] for note in reader.notes)
    parts = [part for part, _ in counted.most_common(_MOST_PARTS)]
    index = {part: position for position, part in enumerate(parts)}
    scale = bpm / 60
    notes = [
        ScoreNote(index[part], start * scale, (end - start) * scale, key, velocity)
        for part, start, end, key, velocity in reader.notes
        if part in index
    ]
    notes.sort(key=lambda each: (each.start, each.part, each.key))
    credible = _CREDIBLE_BPM[0] <= bpm <= _CREDIBLE_BPM[1]
    return Score(
        tuple(ScorePart(part[1], part[2], reader.part_volumes[part]) for part in parts),
        tuple(notes),
        max((each.start + each.quarters for each in notes), default=0.0),
        tempo_bpm=bpm if credible else None,
    )
