"""Texts as callers give them."""

from collections.abc import Sequence

# One text, or several.
Texts = str | Sequence[str]


def as_texts(texts: Texts) -> Sequence[str]:
    """The texts as a sequence: a string is one text, not its letters."""
    return (texts,) if isinstance(texts, str) else texts
