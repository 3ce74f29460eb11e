"""Composition needs no soundfont: every claim here is about notes and labels."""

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.training.synth.arrangement import VOICE
from muqrt.training.synth.harmony import SCALES
from muqrt.training.synth.instrument import INSTRUMENTS
from muqrt.training.synth.labels import arousal, tags, valence
from muqrt.training.synth.song import Song, compose
from muqrt.training.synth.styles.style import STYLES

SEEDS = st.integers(0, 10_000)
# Krumhansl and Kessler's profiles of major and minor.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def song(seed: int, seconds: float = 30.0, held_out: bool = False) -> Song:
    return compose(np.random.default_rng(seed), seconds, held_out)


@cache
def many() -> list[Song]:
    return [song(seed) for seed in range(160)]


def weights(one: Song) -> np.ndarray:
    """How long each pitch class sounds, drums apart."""
    heard = np.zeros(12)
    for role in ("lead", "second", "comp", "bass", "pad"):
        for note in one.notes_of(role):
            heard[note.key % 12] += note.end - note.start
    return heard


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(8, 60))
def test_notes_are_playable(seed: int, seconds: float) -> None:
    one = song(seed, seconds)
    for note in one.notes:
        part = one.band.parts[note.part]
        assert 0 <= note.start < note.end <= one.seconds
        assert 1 <= note.velocity <= 127
        if part.instrument in INSTRUMENTS:
            instrument = INSTRUMENTS[part.instrument]
            assert instrument.lowest <= note.key <= instrument.highest, part
        elif part.instrument == VOICE:
            assert one.singer is not None
            assert one.singer.lowest <= note.key <= one.singer.highest


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_no_part_strikes_a_key_that_sounds(seed: int) -> None:
    ends: dict[tuple[int, int], float] = {}
    for note in song(seed).notes:
        assert note.start >= ends.get((note.part, note.key), 0)
        ends[note.part, note.key] = note.end


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(8, 60))
def test_sections_are_contiguous_and_differ(seed: int, seconds: float) -> None:
    one = song(seed, seconds)
    assert one.sections[0].start == 0
    assert 3 <= len(one.sections) <= 6
    assert {"A", "B"} <= {section.label for section in one.sections} <= {"A", "B", "C"}
    for section, following in pairwise(one.sections):
        assert section.start < section.end == following.start
        assert section.label != following.label


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_equal_seeds_give_equal_songs(seed: int) -> None:
    assert song(seed) == song(seed)


def test_songs_are_about_as_long_as_asked() -> None:
    lengths = [one.seconds for one in many()]
    assert np.mean(lengths) == pytest.approx(30, abs=2)
    assert 20 < min(lengths) <= max(lengths) < 45


def test_every_key_and_every_style_comes() -> None:
    keys = Counter(one.key for one in many())
    assert len(keys) == 24
    assert max(keys.values()) < 4 * len(many()) / 24
    assert {one.genre for one in many()} == set(STYLES)
    assert len(STYLES) >= 12


def test_tunes_and_basses_are_in_the_key() -> None:
    inside = total = 0
    for one in many():
        scale = {(one.tonic + step) % 12 for step in SCALES[one.mode]}
        tonal = one.notes_of("lead") + one.notes_of("bass")
        inside += sum(note.key % 12 in scale for note in tonal)
        total += len(tonal)
    assert inside / total > 0.9


def test_the_key_is_the_one_that_is_heard() -> None:
    hits = 0
    for one in many():
        heard = weights(one)
        _, tonic, mode = max(
            (np.corrcoef(heard, np.roll(profile, tonic))[0, 1], tonic, mode)
            for mode, profile in PROFILES.items()
            for tonic in range(12)
        )
        hits += (tonic, mode) == (one.tonic, one.mode)
    assert hits / len(many()) > 0.9


def test_the_beat_is_the_tempo() -> None:
    near = 0
    for one in many():
        beats = np.array([note.start - 0.05 for note in one.notes]) * one.tempo_bpm / 60
        # Without swing and at any tempo, everything falls on a quarter of a beat.
        if STYLES[one.genre].swing == 0.5:
            off = np.abs(beats * 4 - np.round(beats * 4)) / 4 * 60 / one.tempo_bpm
            near += np.mean(off < 3 * STYLES[one.genre].looseness_s + 1e-3) > 0.97
        else:
            near += 1
    assert near / len(many()) > 0.97


def test_a_chorus_is_louder_and_higher_than_a_bridge() -> None:
    for quantity in ("velocity", "key"):
        differences = []
        for one in many():
            means = {}
            for label in "AB":
                within = [s for s in one.sections if s.label == label]
                found = [
                    getattr(note, quantity)
                    for note in one.notes_of("lead")
                    for s in within
                    if s.start <= note.start < s.end
                ]
                means[label] = np.mean(found)
            differences.append(means["B"] - means["A"])
        assert np.mean(np.array(differences) > 0) > 0.9


def test_sections_of_a_label_come_again() -> None:
    for one in many()[:40]:
        tunes: dict[str, list[tuple[int, ...]]] = {}
        for section in one.sections[:-1]:
            keys = tuple(
                note.key
                for note in sorted(one.notes_of("bass"), key=lambda note: note.start)
                if section.start + 0.2 < note.start < section.end - 0.2
            )
            tunes.setdefault(section.label, []).append(keys)
        for same in tunes.values():
            lengths = [len(keys) for keys in same]
            assert max(lengths) - min(lengths) <= 4


def test_moods_fill_the_plane_in_every_style() -> None:
    moods = np.array([(valence(one), arousal(one)) for one in many()])
    assert np.abs(moods).max() <= 1
    assert abs(np.corrcoef(moods.T)[0, 1]) < 0.3
    assert (moods.min(axis=0) < -0.6).all() and (moods.max(axis=0) > 0.6).all()
    for genre in STYLES:
        own = moods[[one.genre == genre for one in many()]]
        assert np.ptp(own, axis=0).min() > 0.4, genre


def test_tags_say_what_is_played() -> None:
    vocabulary: set[str] = set()
    for one in many():
        words = tags(one)
        vocabulary.update(words)
        assert words == sorted(set(words))
        assert {one.genre, one.mode} <= set(words)
        assert ("vocals" in words) == (one.singer is not None and bool(one.notes_of("lead")))
    assert 35 <= len(vocabulary) <= 60


def test_tests_hear_presets_that_training_does_not() -> None:
    for seed in range(30):
        kept = [part.held_out for part in song(seed, held_out=True).band.parts]
        assert sum(kept) >= len(kept) / 2
        assert not any(part.held_out for part in song(seed).band.parts)
