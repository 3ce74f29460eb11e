"""Which words of a text are not among those that a model learned."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muqrt.common.words import LearnedWords, unlearned_line
from muqrt.errors import CheckpointError

CAPTIONS = (
    "A happy, energetic reggae song with drums, in B major, at 96 beats per minute.",
    "Genre: hip hop. Sounds: melodies, brass.",
    "一首欢快的雷鬼音乐，有手风琴和贝斯，B大调。",
    "鼓、电子、吉他",
)
TEXTS = st.lists(st.text(st.sampled_from("aBys, -'9.é的鼓雷鬼音乐あกा\n") | st.characters()))


@pytest.mark.parametrize(
    ("text", "unlearned"),
    [
        ("zydeco", ["zydeco"]),
        ("Zydeco with a HAPPY drum, at 97", ["Zydeco"]),
        ("zydeco, Zydeco! zydeco's", ["zydeco", "s"]),
        ("Hip-Hop reggaes; melody: 'brass'", []),
        ("a walk by the sea", ["walk", "sea"]),
        ("\uff52eggae", []),  # full width
        ("80s", ["80s"]),
        ("🎻 … 12", []),
        ("雷鬼", []),
        ("欢快的手风琴和吉他", []),
        ("电子鼓", []),
        ("小提琴", ["小提琴"]),
        ("适合海边的reggae，雷鬼音乐 polka", ["适合海边", "polka"]),
    ],
)
def test_what_was_not_learned(text: str, unlearned: list[str]) -> None:
    assert list(LearnedWords.of(CAPTIONS).unlearned([text])) == unlearned


@given(TEXTS, TEXTS)
def test_every_caption_is_learned_and_more_captions_unlearn_nothing(
    captions: list[str], more: list[str]
) -> None:
    learned = LearnedWords.of(captions)
    assert learned.unlearned(captions) == ()
    both = LearnedWords.of([*captions, *more])
    assert learned.units <= both.units
    assert set(both.unlearned(more + captions)) == set()
    assert set(both.unlearned(CAPTIONS)) <= set(learned.unlearned(CAPTIONS))


@given(TEXTS)
def test_a_model_that_learned_nothing_names_its_words_and_no_others(texts: list[str]) -> None:
    named = LearnedWords(frozenset()).unlearned(texts)
    assert LearnedWords.of(named).units == LearnedWords.of(texts).units
    assert LearnedWords(frozenset()).unlearned(named) == named


@given(st.text(st.characters(max_codepoint=126)))
def test_neither_case_nor_punctuation_matters(text: str) -> None:
    learned = LearnedWords.of([text])
    changed = [text.upper(), text.lower(), f"«{text}»", text.replace(" ", "\t- ")]
    assert learned.unlearned(changed) == ()


@given(texts=TEXTS)
def test_a_file_of_them(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    learned, path = LearnedWords.of(texts), tmp_path_factory.getbasetemp() / "words.txt"
    learned.write(path)
    assert LearnedWords.read(path) == learned


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe")
    for name in ("words.txt", "gone.txt"):
        with pytest.raises(CheckpointError, match=f"{name}: not a readable list of words"):
            LearnedWords.read(tmp_path / name)


def test_one_line_for_people() -> None:
    end = "not among the words this model learned; expect a guess."
    assert unlearned_line([]) == ""
    assert unlearned_line(["zydeco"]) == f'"zydeco" is {end}'
    assert unlearned_line(["zydeco", "polka"]) == f'"zydeco", "polka" are {end}'
    many = unlearned_line([str(number) for number in range(13)])
    assert many.endswith(f'"9" and 3 more are {end}')
