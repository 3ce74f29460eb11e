"""Captions made of labels, in English and in Chinese, for music without any.

They say nothing but what the labels say. How much of it, in which order, in which language and in
which form is drawn at random, so that single words and whole sentences are learned alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...common.config import read_toml
from .manifest import Recording

# Where labels are numbers: a mood needs so much valence or arousal.
_CLEAR = 0.25
_SLOW_BPM, _FAST_BPM = 85, 130
# Chinese texts often keep the English name of a style or an instrument.
_KEPT_ENGLISH, _KEPT_KINDS = 0.1, ("genre", "sound")
_PHRASE_WORDS = 3  # at most before one noun
_NOTES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_CAPTION_WORDS = read_toml(Path(__file__).with_name("caption_words.toml"))
# By kind of fact: the English word, and the Chinese for it.
WORDS: dict[str, dict[str, str]] = _CAPTION_WORDS["words"]
_HEADINGS: dict[str, dict[str, str]] = _CAPTION_WORDS["headings"]
_ACCIDENTALS = {"#": "升", "b": "降", "": ""}


@dataclass(frozen=True)
class Fact:
    """One thing that is known of the music.

    Attributes:
        kind: genre, quality, sound, tempo, mode, metre, key, speed, technique, note or other.
        english, chinese: the word for it.
    """

    kind: str
    english: str
    chinese: str


def facts_of(recording: Recording) -> list[Fact]:
    """What the labels say, each thing once; nothing where there are no labels."""
    words = list(recording.tags or ())
    if recording.genre is not None:
        words.insert(0, recording.genre)
    if recording.instrument is not None:
        words.append(recording.instrument)
    words += _measured(recording, {_kind(word) for word in words})
    words, genre = [word for word in words if word.strip()], recording.genre
    facts = [_fact("genre" if word == genre else _kind(word), word) for word in words]
    if recording.technique is not None:
        facts.append(_fact("technique", recording.technique))
    if recording.key is not None:
        facts.append(Fact("key", recording.key, chinese_key(recording.key)))
    if recording.tempo_bpm is not None:
        bpm = round(recording.tempo_bpm)
        facts.append(Fact("speed", f"{bpm} beats per minute", f"每分钟{bpm}拍"))
    if recording.pitch is not None:
        note = f"{_NOTES[recording.pitch % 12]}{recording.pitch // 12 - 1}"
        facts.append(Fact("note", note, note))
    return list(dict.fromkeys(facts))


def chinese_key(key: str) -> str:
    """ "F# minor" -> "升F小调"; a key that is written otherwise stays as it is."""
    tonic, _, mode = key.partition(" ")
    modes = WORDS["mode"]
    if tonic[:1] not in set("ABCDEFG") or tonic[1:] not in _ACCIDENTALS or mode not in modes:
        return key
    return _ACCIDENTALS[tonic[1:]] + tonic[0] + modes[mode]


def caption(recording: Recording, random: np.random.Generator) -> str:
    """One of the recording's captions, or one made of some of its labels.

    Raises:
        ValueError: it has neither.
    """
    if recording.captions:
        return recording.captions[random.integers(len(recording.captions))]
    facts = facts_of(recording)
    if not facts:
        raise ValueError("neither captions nor labels")
    # Few facts rather than many: questions are short.
    count = int(np.ceil(len(facts) * random.random() ** 2)) or 1
    chosen = [facts[index] for index in random.permutation(len(facts))[:count]]
    if random.random() < 0.5:
        return _ENGLISH[random.integers(len(_ENGLISH))]([_Said(f, f.english) for f in chosen])
    kept = random.random(count) < _KEPT_ENGLISH
    said = [
        _Said(f, f.english if keep and f.kind in _KEPT_KINDS else f.chinese)
        for f, keep in zip(chosen, kept, strict=True)
    ]
    return _CHINESE[random.integers(len(_CHINESE))](said)


@dataclass(frozen=True)
class _Said:
    """A fact and how this caption words it."""

    fact: Fact
    word: str


_Form = Callable[[Sequence[_Said]], str]


def _kind(word: str) -> str:
    """What a tag says; a technique is none of the tags."""
    kinds = (kind for kind, words in WORDS.items() if kind != "technique" and word in words)
    return next(kinds, "other")


def _fact(kind: str, word: str) -> Fact:
    return Fact(kind, word, WORDS.get(kind, {}).get(word, word))


def _measured(recording: Recording, said: set[str]) -> Iterator[str]:
    """Words for numbers, where no tag has said as much."""
    if recording.tempo_bpm is not None and "tempo" not in said:
        slow, fast = recording.tempo_bpm < _SLOW_BPM, recording.tempo_bpm > _FAST_BPM
        yield "slow" if slow else "fast" if fast else "moderate"
    if "quality" not in said:
        for value, high, low in (
            (recording.valence, "happy", "sad"),
            (recording.arousal, "energetic", "calm"),
        ):
            if value is not None and abs(value) > _CLEAR:
                yield high if value > 0 else low


def _words(said: Sequence[_Said], *kinds: str) -> list[str]:
    return [each.word for each in said if each.fact.kind in kinds]


def _list(said: Sequence[_Said], comma: str) -> str:
    return comma.join(each.word for each in said)


def _phrase(said: Sequence[_Said], form: str, between: str, comma: str) -> str:
    """Such as "a piece of happy reggae music": the words that fit before the noun."""
    words = _words(said, "quality", "tempo", "mode", "genre", "sound")[:_PHRASE_WORDS]
    return form.format(between.join(words)) if words else _list(said, comma)


def _english_sentence(said: Sequence[_Said]) -> str:
    """Such as "A happy reggae song with piano and bass, in B major."."""
    before = [", ".join(_words(said, "quality")), *_words(said, "genre")]
    noun = " ".join(word for word in (*before, "song") if word)
    article = "An" if noun[0] in "aeiou" else "A"
    sounds = [*_words(said, "sound"), *(f"{word} singing" for word in _words(said, "technique"))]
    played = f" with {_and(sounds)}" if sounds else ""
    rest = [
        *(f"in {word}" for word in _words(said, "key", "metre")),
        *(f"in a {word} key" for word in _words(said, "mode")),
        *(f"at a {word} tempo" for word in _words(said, "tempo")),
        *(f"at {word}" for word in _words(said, "speed")),
        *(f"on the note {word}" for word in _words(said, "note")),
        *_words(said, "other"),
    ]
    return f"{article} {noun}{played}{''.join(f', {each}' for each in rest)}."


def _chinese_sentence(said: Sequence[_Said]) -> str:
    """Such as "一首欢快的雷鬼音乐，有钢琴和贝斯，B大调。"."""
    qualities, sounds = _words(said, "quality"), _words(said, "sound")
    before = f"{'、'.join(qualities)}的" if qualities else ""
    parts = [f"一首{before}{''.join(_words(said, 'genre'))}音乐"]
    if sounds:
        parts.append(f"有{'和'.join([*filter(None, ['、'.join(sounds[:-1])]), sounds[-1]])}")
    parts += _words(said, "key", "mode", "metre", "speed", "other")
    parts += [f"速度{word}" for word in _words(said, "tempo")]
    parts += [f"{word}唱法" for word in _words(said, "technique")]
    parts += [f"音高{word}" for word in _words(said, "note")]
    return "，".join(parts) + "。"


def _and(words: Sequence[str]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


def _notes(
    said: Sequence[_Said], headings: dict[str, str], form: str, comma: str, between: str
) -> str:
    """Such as "Genre: reggae. Mood: happy.", in the order in which the facts were drawn."""
    found: dict[str, list[str]] = {}
    for each in said:
        found.setdefault(headings[each.fact.kind], []).append(each.word)
    return between.join(form.format(name, comma.join(words)) for name, words in found.items())


_ENGLISH: tuple[_Form, ...] = (
    partial(_list, comma=", "),
    partial(_phrase, form="a piece of {} music", between=" ", comma=", "),
    _english_sentence,
    partial(_notes, headings=_HEADINGS["english"], form="{}: {}.", comma=", ", between=" "),
)
_CHINESE: tuple[_Form, ...] = (
    partial(_list, comma="、"),
    partial(_phrase, form="一首{}的音乐", between="、", comma="、"),
    _chinese_sentence,
    partial(_notes, headings=_HEADINGS["chinese"], form="{}：{}。", comma="、", between=""),
)
