"""The options of ``muqrt tag`` for the user's own labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError
from ..audio.files import is_audio_name
from ..lazy import SectionedCommand
from ..options import TextArtefactName

if TYPE_CHECKING:
    from ...runtime.text.labels import LabelSet

# By default: of thousands of labels many are above chance.
LABELS_SHOWN = 10
_LABELS = "--labels"


def _label_option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Your own labels (with a MuQ-MuLan)", **settings)


@dataclass(frozen=True)
class LabelOptions:
    """The options that say which labels to tag with, and how to embed them."""

    labels: Annotated[
        list[str] | None,
        _label_option(
            _LABELS, help="Labels to tag with: words or quoted phrases, up to the next option."
        ),
    ] = None
    labels_file: Annotated[
        Path | None, _label_option(help="Text file of labels, one per line.")
    ] = None
    template: Annotated[
        list[str] | None,
        _label_option(
            help="Sentence to embed for a label instead of the usual ones, with {} for the label; "
            "may be repeated: the embeddings are averaged."
        ),
    ] = None
    no_cache: Annotated[
        bool,
        _label_option(
            "--no-cache", help="Do not store the labels' embeddings in the user's cache."
        ),
    ] = False
    text_artefact: TextArtefactName = None

    def label_set(self) -> "LabelSet | None":
        """The labels; None if the options name none.

        Raises:
            UsageError: unusable labels or templates, or a file that cannot be read or is empty.
        """
        from ...runtime.text.labels import TEMPLATES, LabelSet, read_labels

        if self.labels is None and self.labels_file is None:
            if self.template:
                raise UsageError("--template is for --labels or --labels-file; give one of them.")
            return None
        given = [label.strip() for label in self.labels or ()]
        if self.labels_file is not None:
            given += read_labels(self.labels_file)
        return LabelSet(tuple(given), tuple(self.template or TEMPLATES))


class LabelsCommand(SectionedCommand):
    """A command whose ``--labels`` takes several words, where an option usually takes one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        return super().parse_args(ctx, _repeated(args))


def _repeated(words: Sequence[str]) -> list[str]:
    """A command line with ``--labels`` before each of the words that follow it."""
    repeated: list[str] = []
    following = False
    for index, word in enumerate(words):
        if word == "--":  # only arguments follow
            return [*repeated, *words[index:]]
        if word.startswith("-"):
            following = word == _LABELS
            if not following:
                repeated.append(word)
            elif index + 1 == len(words) or words[index + 1].startswith("-"):
                raise UsageError(f"{_LABELS} needs a word or a quoted phrase.")
        elif following and is_audio_name(word):
            raise UsageError(
                f"{_LABELS} ... {word}: an audio file, not a label. Name it before {_LABELS}, or "
                "put -- before it."
            )
        else:
            repeated += [_LABELS, word] if following else [word]
    return repeated
