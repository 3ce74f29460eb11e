"""Sets of labels in words, for tagging without a trained tagger."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...common.files import read_text
from ...errors import UsageError
from .texts import as_texts

TEMPLATES = ("{}", "a piece of {} music", "一首{}的音乐")
MOST_LABELS = 10_000
_LIMIT_BYTES = 16 << 20  # of a file of them
_PLACE = "{}"
# Control characters and line ends: nothing that a tokenizer knows or a table can show.
_UNPRINTABLE = {"Cc", "Zl", "Zp"}

Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class LabelSet:
    """Labels, and the sentences they are put into.

    A label's embedding is that of the mean over all templates: single words are rare among the
    texts that a model was trained on, and no single sentence suits every label.

    Attributes:
        labels: in any language, up to 10,000; a string is one label. Longer ones than the model's
            tokens are cut.
        templates: sentences with ``{}`` in the label's place.

    Raises:
        UsageError: no labels or too many, an empty one, one given twice or with a line end in it,
            or a template without ``{}``.
    """

    labels: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_texts(self.labels))
        object.__setattr__(self, "templates", as_texts(self.templates))
        if not 1 <= len(self.labels) <= MOST_LABELS:
            raise UsageError(f"{len(self.labels)} labels; there may be 1 to {MOST_LABELS}.")
        _check_each("label", self.labels)
        _check_each("template", self.templates)
        for template in self.templates:
            if _PLACE not in template:
                raise UsageError(
                    f"template {template!r}: it needs {_PLACE} where the label goes, as in "
                    f"{TEMPLATES[1]!r}."
                )

    @property
    def texts(self) -> list[str]:
        """Every label in every template, label by label."""
        return [
            template.replace(_PLACE, label) for label in self.labels for template in self.templates
        ]

    def latents(self, embed: Embed) -> np.ndarray:
        """The labels' embeddings, float32 (labels, width), of length one.

        Args:
            embed: gives texts' embeddings, float32 (texts, width), each of length one.
        """
        by_label = embed(self.texts).reshape(len(self.labels), len(self.templates), -1)
        return unit(by_label.mean(axis=1, dtype=np.float64))


def read_labels(path: Path) -> list[str]:
    """The labels in a text file, one a line; empty lines are left out.

    Raises:
        UsageError: no such file, not UTF-8, or larger than any list of labels.
    """
    try:
        lines = read_text(path, _LIMIT_BYTES).removeprefix("\ufeff").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8.") from None
    except ValueError as error:
        raise UsageError(f"{path}: not a list of labels: {error}.") from None
    return [line.strip() for line in lines if line.strip()]


def unit(embedding: np.ndarray) -> np.ndarray:
    """An embedding (..., width) of the same direction and of length one, float32."""
    length = np.linalg.norm(embedding.astype(np.float64), axis=-1, keepdims=True)
    found: np.ndarray = embedding / length
    return found.astype(np.float32)


def _check_each(kind: str, texts: Sequence[str]) -> None:
    if not texts:
        raise UsageError(f"a list of at least one {kind} is needed, not {texts!r}.")
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"{kind} {index} is not text but of type {type(text).__name__}.")
        if not text.strip():
            raise UsageError(f"{kind} {index} is empty.")
        if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
            raise UsageError(f"{kind} {text!r} has characters that cannot be printed.")
        if text in seen:
            raise UsageError(f"{kind} {text!r} is given twice.")
        seen.add(text)
