from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.training.synth.harmony import SCALES, chord, keys_within, scale_over, slots
from muqrt.training.synth.styles.style import STYLES

PROGRESSIONS = [p for style in STYLES.values() for p in (*style.major, *style.minor)]


@pytest.mark.parametrize(
    ("numeral", "tones", "color"),
    [
        ("I", (0, 4, 7), 1),
        ("ii7", (2, 5, 9, 0), -1),
        ("V7", (7, 11, 2, 5), 1),
        ("bVII", (10, 2, 5), 1),
        ("viidim", (11, 2, 5), -1),
        ("Isus4", (0, 5, 7), 0),
    ],
)
def test_a_numeral_is_its_chord(numeral: str, tones: tuple[int, ...], color: int) -> None:
    assert chord(numeral).tones == tones
    assert chord(numeral).color == color


def test_what_is_no_numeral_is_refused() -> None:
    with pytest.raises(ValueError, match="H7"):
        chord("H7")


@given(
    st.sampled_from(PROGRESSIONS),
    st.integers(1, 16),
    st.sampled_from([3, 4]),
    st.sampled_from(["", "V7"]),
)
def test_slots_fill_the_passage(progression: str, bars: int, beats: int, cadence: str) -> None:
    placed = slots(progression, bars, beats, cadence)
    assert placed[0].start == 0
    assert placed[-1].start + placed[-1].beats == bars * beats
    for one, following in pairwise(placed):
        assert one.start + one.beats == following.start
    assert all(0 < slot.beats <= beats for slot in placed)
    if cadence:
        assert placed[-1].chord == chord(cadence)


def test_the_scale_gives_way_to_the_chord() -> None:
    assert scale_over(chord("V7"), SCALES["minor"]) == (0, 2, 3, 5, 7, 8, 11)
    assert scale_over(chord("I7"), SCALES["major"]) == (0, 2, 4, 5, 7, 9, 10)
    assert scale_over(chord("IV"), SCALES["major"]) == SCALES["major"]


def test_keys_within_a_range() -> None:
    assert keys_within((0, 4, 7), 2, 60, 72) == [62, 66, 69]
