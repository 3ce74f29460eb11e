"""The words of a MuQ-MuLan's captions, and which words of a text are not among them.

Words are compared without case and punctuation, and a plural is its singular. Scripts that put no
spaces between words are compared by pairs of characters: a phrase is learned if each of its
characters is in a pair, or stood alone, in the captions. Numbers and function words are no words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from ..errors import CheckpointError
from .files import read_text

WORDS_FILE = "words.txt"
_LIMIT_BYTES = 16 << 20
_WORDS_SHOWN = 10
# Thai, Lao, Burmese, Khmer, Japanese and Chinese.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
_BETWEEN_PHRASES = re.compile("[的和与有及是在]")
_FUNCTION_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "but", "by", "for", "from", "in", "into", "is", "it"}
    | {"its", "like", "of", "on", "or", "that", "the", "this", "to", "which", "with"}
)


@dataclass(frozen=True)
class LearnedWords:
    """What the captions were made of.

    Attributes:
        units: words in lower case; of phrases without spaces pairs of characters, and those
            characters that stood alone.
    """

    units: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "LearnedWords":
        """The words of captions."""
        return cls(
            frozenset(unit for text in texts for word in _words(text) for unit in _units(word))
        )

    @classmethod
    def read(cls, path: Path) -> "LearnedWords":
        """Read the file that ``write`` wrote.

        Raises:
            CheckpointError: it cannot be read, is not UTF-8, or is over 16 MiB.
        """
        try:
            return cls(frozenset(read_text(path, _LIMIT_BYTES).split()))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not a readable list of words ({error}).") from None

    def write(self, path: Path) -> None:
        """Write a text file, one unit a line, in order."""
        path.write_text("".join(f"{unit}\n" for unit in sorted(self.units)), encoding="utf-8")

    def unlearned(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The words that were not learned, as they are written, each once."""
        found: dict[str, str] = {}
        for text in texts:
            for word in _words(text):
                if not self._knows(word):
                    found.setdefault(word.casefold(), word)
        return tuple(found.values())

    def _knows(self, word: str) -> bool:
        if not _UNSPACED.match(word):
            return not self.units.isdisjoint(_forms(word.casefold()))
        pairs = ["", *map("".join, pairwise(word)), ""]
        return all(
            not self.units.isdisjoint((character, before, after))
            for character, (before, after) in zip(word, pairwise(pairs), strict=True)
        )


def unlearned_line(words: Sequence[str]) -> str:
    """What to tell people of words that were not learned, in one line; empty if there are none."""
    if not words:
        return ""
    shown = ", ".join(f'"{word}"' for word in words[:_WORDS_SHOWN])
    more = f" and {rest} more" if (rest := len(words) - _WORDS_SHOWN) > 0 else ""
    verb = "is" if len(words) == 1 else "are"
    return f"{shown}{more} {verb} not among the words this model learned; expect a guess."


def _words(text: str) -> Iterator[str]:
    """A text's words, and its phrases without spaces."""
    for kind, characters in groupby(unicodedata.normalize("NFKC", text), _kind):
        run = "".join(characters)
        if kind == "unspaced":
            yield from filter(None, _BETWEEN_PHRASES.split(run))
        elif kind == "spaced" and not run.isnumeric() and run.casefold() not in _FUNCTION_WORDS:
            yield run


def _kind(character: str) -> str:
    """The kind of word that a character is part of; empty for what is between words."""
    if unicodedata.category(character)[0] not in "LMN":  # letters, marks and numbers
        return ""
    return "unspaced" if _UNSPACED.match(character) else "spaced"


def _units(word: str) -> Iterable[str]:
    if not _UNSPACED.match(word):
        return [word.casefold()]
    return map("".join, pairwise(word)) if len(word) > 1 else [word]


def _forms(word: str) -> Iterator[str]:
    """A word, and what may be its plural or its singular."""
    yield from (word, f"{word}s", f"{word}es")
    yield from (word.removesuffix(ending) for ending in ("s", "es"))
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    if word.endswith("y"):
        yield f"{word[:-1]}ies"
