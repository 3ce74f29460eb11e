"""What ``muqrt tag`` is told of labels: the user's own words for what may be heard."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ...common.console import progress
from ...common.files import cache_folder
from ...errors import UsageError
from ..options import check_place, open_session

if TYPE_CHECKING:
    import numpy as np

    from ...runtime.text.labels import LabelSet
    from ...runtime.text.zero_shot import LabelTagger
    from ...triton_repo.client.label_tagger import ServedLabelTagger

# By default: of thousands of labels many are above chance.
LABELS_SHOWN = 10
_LABELS = "--labels"
_PANEL = "Tags from words, by a MuQ-MuLan's bundle"

Labels = Annotated[
    list[str] | None,
    typer.Option(
        _LABELS,
        help="What may be heard, in your own words: every word or quoted phrase up to the next "
        "option.",
        rich_help_panel=_PANEL,
    ),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(help="Labels in a text file, one a line.", rich_help_panel=_PANEL),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        help="Sentence with {} in the label's place, in the place of the usual ones; several are "
        "averaged.",
        rich_help_panel=_PANEL,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Do not keep the texts' embeddings in the user's cache.",
        rich_help_panel=_PANEL,
    ),
]


class LabelsCommand(TyperCommand):
    """A command whose ``--labels`` takes any number of words; of itself an option takes one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Say the option again before each of its words."""
        return super().parse_args(ctx, _repeated(args))


def chosen_labels(
    labels: Sequence[str] | None, file: Path | None, templates: Sequence[str] | None
) -> "LabelSet | None":
    """What the options say; None where they name no labels.

    Raises:
        UsageError: labels or templates that cannot be used, a file that is none, or one without
            any labels.
    """
    from ...runtime.text.labels import TEMPLATES, LabelSet, read_labels

    if labels is None and file is None:
        if templates:
            raise UsageError("--template is for --labels or --labels-file; give one of them.")
        return None
    given = [label.strip() for label in labels or ()]
    if file is not None:
        given += read_labels(file)
    return LabelSet(tuple(given), tuple(templates or TEMPLATES))


@contextmanager
def open_tagger(
    labels: "LabelSet",
    bundle: Path | None,
    server: str | None,
    model: str | None,
    artefact: str | None,
    threads: int | None,
    timeout_seconds: float | None,
    bulk: bool,
    text_artefact: str | None,
    no_cache: bool,
    batch_size: int,
) -> "Iterator[LabelTagger | ServedLabelTagger]":
    """What tags with labels, by a bundle or on a server.

    Raises:
        UsageError: what ``check_place`` raises, or one place with the other's options.
    """
    check_place(bundle, server, model, artefact, threads, timeout_seconds)
    if bundle is not None:
        from ...runtime.text.zero_shot import LabelTagger

        # Before the other tower is opened: they need not be in memory together.
        latents = _latents(labels, bundle, text_artefact, threads, no_cache)
        with open_session(bundle, None, None, artefact, threads, None, bulk) as session:
            yield LabelTagger(session, labels, latents, batch_size)
        return
    if bulk or text_artefact is not None or no_cache:
        raise UsageError("--bulk, --text-artefact and --no-cache are not for labels on a server.")
    from ...triton_repo.client.label_tagger import ServedLabelTagger
    from ...triton_repo.client.session import TIMEOUT_SECONDS

    assert server is not None
    timeout = timeout_seconds or TIMEOUT_SECONDS
    yield ServedLabelTagger(server, labels, model or "zeroshot", timeout)


def _latents(
    labels: "LabelSet", bundle: Path, artefact: str | None, threads: int | None, no_cache: bool
) -> "np.ndarray":
    """The labels' embeddings, with a progress bar."""
    from ...runtime.text.cache import TEXTS_FILE, embed_texts

    cache = None if no_cache else cache_folder() / TEXTS_FILE
    with progress("Reading labels", len(labels.texts)) as bar:

        def embed(texts: Sequence[str]) -> "np.ndarray":
            return embed_texts(
                bundle, texts, artefact, threads, cache, lambda done: bar.advance(steps=done)
            )

        return labels.latents(embed)


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
                raise UsageError(f"{_LABELS} needs a word or a quoted phrase at least.")
        else:
            repeated += [_LABELS, word] if following else [word]
    return repeated
