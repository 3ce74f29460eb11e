"""Captions made of labels: what they may say, in which languages, and that a seed decides them."""

import re
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.training.data.captions import WORDS, caption, chinese_key, facts_of
from muqrt.training.data.manifest import Recording
from muqrt.training.synth.instrument import INSTRUMENTS, KITS
from muqrt.training.synth.styles.style import STYLES
from muqrt.training.synth.voice import TECHNIQUES as SUNG

CHINESE_WORDS = {word: other for words in WORDS.values() for word, other in words.items()}
SONG = Recording(
    audio=Path("song.flac"),
    genre="reggae",
    key="Eb minor",
    valence=-0.5,
    arousal=0.6,
    tags=("accordion", "bass", "energetic", "instrumental", "minor", "reggae", "sad", "slow"),
    tempo_bpm=67.9,
)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def captions(recording: Recording, count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [caption(recording, random) for _ in range(count)]


def named(text: str) -> set[str]:
    """The known words in a text, in either language: the longest where one is part of another."""
    found = set()
    for english in sorted(CHINESE_WORDS, key=len, reverse=True):
        shorter = re.sub(rf"(?<![a-z]){english}(?![a-z])", "_", text)
        found |= {english} if shorter != text else set()
        text = shorter
    for english, chinese in sorted(CHINESE_WORDS.items(), key=lambda pair: -len(pair[1])):
        found |= {english} if chinese in text else set()
        text = text.replace(chinese, "_")
    return found


labelled = st.builds(
    lambda genre, tags, key, bpm: Recording(
        audio=Path("a"), genre=genre, tags=tags, key=key, tempo_bpm=bpm
    ),
    st.sampled_from(sorted(set(WORDS["genre"]) - {"hiphop", "march"})),
    st.lists(st.sampled_from(sorted({*WORDS["quality"], *WORDS["sound"]})), max_size=6).map(tuple),
    st.sampled_from(["C major", "F# minor", "Bb major"]),
    st.floats(40, 200),
)


@settings(max_examples=40, deadline=None)
@given(recording=labelled, seed=st.integers(0, 1000))
def test_no_caption_says_what_no_label_says(recording: Recording, seed: int) -> None:
    said = {fact.english for fact in facts_of(recording)}
    assert recording.key is not None
    allowed = said | {recording.key.split()[1]}
    for text in captions(recording, 8, seed):
        assert named(text) <= allowed, text
        for bpm in re.findall(r"\d+", text):
            assert int(bpm) == round(recording.tempo_bpm or 0)


def test_facts_are_the_labels_and_each_is_one() -> None:
    facts = {(fact.kind, fact.english) for fact in facts_of(SONG)}
    assert len(facts_of(SONG)) == len(facts) == 10
    assert ("genre", "reggae") in facts
    assert ("key", "Eb minor") in facts
    assert ("speed", "68 beats per minute") in facts
    assert {word for kind, word in facts if kind == "quality"} == {
        "energetic",
        "instrumental",
        "sad",
    }
    assert facts_of(Recording(audio=Path("a"), singer="somebody")) == []
    assert facts_of(Recording(audio=Path("a"), tags=("", " "))) == []


def test_numbers_get_words_where_no_tag_says_as_much() -> None:
    words = [fact.english for fact in facts_of(SONG.model_copy(update={"tags": None}))]
    assert {"slow", "sad", "energetic"} <= set(words)
    tagged = SONG.model_copy(update={"tags": ("fast", "calm")})
    words = [fact.english for fact in facts_of(tagged)]
    assert "slow" not in words
    assert "energetic" not in words
    note = Recording(audio=Path("a"), instrument="pan flute", pitch=61)
    assert {fact.english for fact in facts_of(note)} == {"pan flute", "C#4"}


def test_both_languages_every_form_and_every_label_occur() -> None:
    texts = captions(SONG, 400)
    chinese = [text for text in texts if CHINESE.search(text)]
    assert 150 < len(chinese) < 250
    for form in (
        r"^a piece of [a-z ]+ music$",
        r"^An? .*song.*\.$",
        r"(Genre|Tempo|Key|Character|Instruments): .*\.$",
        r"^一首.+的音乐$",
        r"^一首.*音乐.*。$",
        r"(风格|速度|调性|特点|乐器)：.+。$",
        r"^[^.。]+, [^.。]+$",
        r"^[^.。]+、[^.。]+$",
    ):
        assert any(re.search(form, text) for text in texts), form
    everything = " ".join(texts)
    for fact in facts_of(SONG):
        assert fact.english in everything
        assert fact.chinese in everything
    lengths = [len(named(text)) for text in texts]
    assert min(lengths) <= 1
    assert max(lengths) >= 7


def test_a_seed_decides() -> None:
    assert captions(SONG, 50) == captions(SONG, 50)
    assert captions(SONG, 50) != captions(SONG, 50, seed=1)


def test_captions_of_ones_own_come_before_labels() -> None:
    own = SONG.model_copy(update={"captions": ("dawn at the sea", "海边的清晨")})
    assert set(captions(own, 30)) == {"dawn at the sea", "海边的清晨"}


def test_tags_nobody_knows_are_said_as_they_are() -> None:
    odd = Recording(audio=Path("a"), tags=("weird", "no piano"))
    texts = captions(odd, 60)
    assert all("weird" in text or "no piano" in text for text in texts)
    assert not any("piano" in text.replace("no piano", "") for text in texts)


def test_keys_in_chinese() -> None:
    assert chinese_key("C major") == "C大调"
    assert chinese_key("F# minor") == "升F小调"
    assert chinese_key("Bb major") == "降B大调"
    assert chinese_key("H dur") == "H dur"


def test_every_label_of_the_synthetic_corpus_has_its_chinese() -> None:
    every = {**INSTRUMENTS, **KITS}
    families = {instrument.family for instrument in every.values()}
    styles = {style if isinstance(style, str) else style.name for style in STYLES}
    assert families | (set(INSTRUMENTS)) <= set(WORDS["sound"])
    assert styles <= set(WORDS["genre"])
    assert set(SUNG) <= set(WORDS["technique"])
    assert len(set(WORDS["sound"].values())) == len(WORDS["sound"])
