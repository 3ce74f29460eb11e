"""An item of the corpus: its labels, known before it is rendered, and its sound."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .arrangement import VOICE, Part
from .clips import note_clip, phrase
from .instrument import INSTRUMENTS
from .labels import arousal, tags, valence
from .recording import Recording
from .singer import VOWELS, Singer, random_singer
from .song import Song, compose
from .synthesizer import Channel, Note, Synthesizer
from .voice import SONG_TECHNIQUE, TECHNIQUES, Sung, sing

KINDS = ("song", "voice", "note")
KNOWN_SINGERS = 16
HELD_OUT_SINGERS = 6

_SPLITS = 20 * ("train",) + 2 * ("valid",) + 3 * ("test",)
# Random streams besides those of the kinds.
_SPLIT_STREAM, _SINGER_STREAM = len(KINDS), len(KINDS) + 1
_VOICE_OVER_BAND_DB = (-2.0, 5.0)
_DECIMALS = 4

Sound = Callable[[np.random.Generator, Synthesizer, float], np.ndarray]


class Finish(Protocol):
    """What happens between a sound and its file.

    Attributes:
        cents: tuning.
        suffix: of the file.
    """

    @property
    def cents(self) -> float:
        """Tuning of the instruments."""
        ...

    @property
    def suffix(self) -> str:
        """The file name's ending."""
        ...

    def record(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """The sound as recorded, (samples,)."""
        ...

    def encode(self, audio: np.ndarray) -> bytes:
        """The bytes of the file."""
        ...


@dataclass(frozen=True)
class Item:
    """An item of a corpus: everything about it follows from these.

    Args:
        seed: of the corpus.
        kind: a name in ``KINDS``.
        index: among those of its kind.
        song_seconds: about how long songs are.
    """

    seed: int
    kind: str
    index: int
    song_seconds: float

    @property
    def name(self) -> str:
        """Such as ``song-00012``."""
        return f"{self.kind}-{self.index:05d}"

    @property
    def split(self) -> str:
        """train, valid or test: 20, 2 and 3 of every 25 in a row."""
        block, place = divmod(self.index, len(_SPLITS))
        rng = np.random.default_rng([self.seed, _SPLIT_STREAM, KINDS.index(self.kind), block])
        return _SPLITS[int(rng.permutation(len(_SPLITS))[place])]

    def plan(self) -> "ItemPlan":
        """What is known of it before it is rendered."""
        content, performance, room = self._generators()
        seconds, labels, sound = _CONTENTS[self.kind](self, content)
        return ItemPlan(self, seconds, labels, sound, Recording.sample(room), performance)

    def _generators(self) -> list[np.random.Generator]:
        return np.random.default_rng([self.seed, KINDS.index(self.kind), self.index]).spawn(3)


@dataclass(frozen=True)
class ItemPlan:
    """An item before it is rendered.

    Args:
        item: which.
        seconds: length of the audio.
        labels: what there is to learn.
        sound: renders it: (samples,) at 24 kHz.
        recording: what happens to the sound.
        rng: of the performance and the recording; used up by ``encoded``.
    """

    item: Item
    seconds: float
    labels: dict[str, Any]
    sound: Sound
    recording: Finish
    rng: np.random.Generator

    @property
    def audio(self) -> str:
        """The file, relative to the manifest."""
        return f"audio/{self.item.name}{self.recording.suffix}"

    @property
    def row(self) -> dict[str, Any]:
        """The manifest's row."""
        facts = {"audio": self.audio, "song": self.item.name, "split": self.item.split}
        return {**facts, "seconds": round(self.seconds, _DECIMALS), **self.labels}

    def encoded(self, synthesizer: Synthesizer) -> bytes:
        """The bytes of the audio file."""
        audio = self.sound(self.rng, synthesizer, self.recording.cents)
        return self.recording.encode(self.recording.record(self.rng, audio))


def singer(seed: int, number: int) -> Singer:
    """A singer of the corpus; those from ``KNOWN_SINGERS`` on occur only in tests."""
    return random_singer(np.random.default_rng([seed, _SINGER_STREAM, number]))


def _song(item: Item, rng: np.random.Generator) -> tuple[float, dict[str, Any], Sound]:
    song = compose(rng, item.song_seconds, held_out=item.split == "test")
    return song.seconds, song_labels(song), lambda *context: _performed(song, *context)


def song_labels(song: Song) -> dict[str, Any]:
    """What there is to learn of a song."""
    return {
        "genre": song.genre,
        "key": song.key,
        "valence": round(valence(song), _DECIMALS),
        "arousal": round(arousal(song), _DECIMALS),
        "tags": tags(song),
        "sections": [
            [round(each.start, _DECIMALS), round(each.end, _DECIMALS), each.label]
            for each in song.sections
        ],
        "tempo_bpm": song.tempo_bpm,
    }


def _voice(item: Item, rng: np.random.Generator) -> tuple[float, dict[str, Any], Sound]:
    """A clip; in tests it is labelled with a known singer or with a technique, not both."""
    is_test = item.split == "test"
    number, held_out = int(rng.integers(KNOWN_SINGERS)), int(rng.integers(HELD_OUT_SINGERS))
    technique = str(rng.choice(list(TECHNIQUES)))
    stranger = is_test and bool(rng.random() < 0.5)
    number = KNOWN_SINGERS + held_out if stranger else number
    labels = {"singer": f"singer-{number:02d}", "technique": technique}
    if is_test:
        del labels["singer" if stranger else "technique"]
    who, how = singer(item.seed, number), TECHNIQUES[technique]
    sung = phrase(rng, who, how)
    return (
        sung.seconds,
        labels,
        lambda rng, _, cents: sing(rng, who, how, sung.notes, sung.seconds),
    )


def _note(item: Item, rng: np.random.Generator) -> tuple[float, dict[str, Any], Sound]:
    clip = note_clip(rng)
    is_test = item.split == "test"

    def sound(_: np.random.Generator, synthesizer: Synthesizer, cents: float) -> np.ndarray:
        preset = synthesizer.palette.preset(clip.instrument, is_test, clip.choice)
        note = Note(0, clip.start, clip.end, clip.key, clip.velocity)
        return synthesizer.render([Channel(preset)], [note], clip.seconds, cents).mean(axis=0)

    return clip.seconds, {"instrument": clip.instrument, "pitch": clip.key}, sound


_CONTENTS: dict[str, Callable[[Item, np.random.Generator], tuple[float, dict[str, Any], Sound]]] = {
    "song": _song,
    "voice": _voice,
    "note": _note,
}


def _performed(
    song: Song, rng: np.random.Generator, synthesizer: Synthesizer, cents: float
) -> np.ndarray:
    """A song as sound; where the lead is sung, the band plays without it."""
    parts = song.band.parts
    channels = [_channel(part, synthesizer) for part in parts]
    lead = next((i for i, part in enumerate(parts) if part.instrument == VOICE), None)
    played = [note for note in song.notes if note.part != lead]
    band = synthesizer.render(channels, played, song.seconds, cents).mean(axis=0)
    tune = [note for note in song.notes if note.part == lead]
    if song.singer is None or not tune:
        return band
    voice = sing(rng, song.singer, SONG_TECHNIQUE, lyrics(rng, tune), song.seconds)
    level = np.sqrt(np.mean(band**2) / np.mean(voice**2))
    return band + voice * level * 10 ** (rng.uniform(*_VOICE_OVER_BAND_DB) / 20)


def _channel(part: Part, synthesizer: Synthesizer) -> Channel:
    # The voice's channel stays silent, whatever its preset.
    name = part.instrument if part.instrument != VOICE else next(iter(INSTRUMENTS))
    preset = synthesizer.palette.preset(name, part.held_out, part.choice)
    return Channel(preset, part.volume, part.pan)


def lyrics(rng: np.random.Generator, tune: list[Note]) -> list[Sung]:
    """A tune with a random vowel on each note."""
    vowels = rng.choice(list(VOWELS), size=len(tune))
    return [
        Sung(note.start, note.end, note.key, str(vowel))
        for note, vowel in zip(tune, vowels, strict=True)
    ]
