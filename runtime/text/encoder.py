"""Texts in, embeddings out: a MuQ-MuLan's text tower with its tokenizer."""

from collections.abc import Callable
from os import PathLike, fspath

import numpy as np

from ...common.closing import Closing
from ...common.words import WORDS_FILE, LearnedWords
from ...errors import BundleError, MuqrtError
from ..bundle.joint import IDS, LATENTS, MASK
from ..bundle.manifest import Artefact, Bundle, load_bundle
from ..bundle.parts import STATES
from ..engines.open_session import open_session
from ..engines.session import Session, TextParts, check_finite
from .texts import Texts, as_texts
from .tokenizer import TextTokenizer

_TEXTS_AT_ONCE = 1_024  # tokenized together
_TOKENS_AT_ONCE = 2_048  # of a run, padding included: 16 texts of 128 tokens


class TextEncoder(Closing):
    """A text tower ready for use. A context manager; ``close`` frees its session.

    Args:
        session: runs the tower, and is closed with the encoder.
        tokenizer: the one it was trained with.
        words: those that it learned; None where that is not known.
    """

    def __init__(
        self, session: Session, tokenizer: TextTokenizer, words: LearnedWords | None = None
    ) -> None:
        self._session, self._tokenizer, self._words = session, tokenizer, words

    @property
    def artefact_sha256(self) -> str:
        """The artefact's digest, as its certificate names it."""
        return self._session.artefact_sha256

    def unlearned(self, texts: Texts) -> tuple[str, ...] | None:
        """The texts' words that the model did not learn; None where it does not say."""
        return None if self._words is None else self._words.unlearned(as_texts(texts))

    def encode(
        self, texts: Texts, on_texts: Callable[[int], None] = lambda count: None
    ) -> np.ndarray:
        """Embed texts; the memory needed grows only with the size of the result.

        The result for a text does not depend on the others. Texts that are too long are cut.

        Args:
            texts: one, or several.
            on_texts: called with how many more are done.

        Returns:
            float32 (texts, width), each of length one.

        Raises:
            UsageError: no text, or an item that is not text. SessionError: the engine failed, or
                its numbers are not finite.
        """
        texts = as_texts(texts)
        found = np.empty((len(texts), int(self._session.outputs[LATENTS].shape[-1])), np.float32)
        for start in range(0, max(len(texts), 1), _TEXTS_AT_ONCE):
            ids, mask = self._tokenizer.encode(texts[start : start + _TEXTS_AT_ONCE])
            lengths = mask.sum(axis=1)
            for rows in _batches(lengths):
                longest = lengths[rows].max()
                inputs = {IDS.name: ids[rows, :longest], MASK.name: mask[rows, :longest]}
                found[start + rows] = self._session.run(inputs)[LATENTS]
                check_finite(found[start + rows], "latents for texts")
                on_texts(len(rows))
        return found

    def encode_with_padding(self, texts: Texts) -> np.ndarray:
        """Embed texts in one batch as the official package does, where padding counts.

        So the result for a text depends on the longest one of its batch; that for a text alone is
        ``encode``'s.

        Args:
            texts: one, or several.

        Returns:
            float32 (texts, width), each of length one.

        Raises:
            BundleError: the tower is not there in parts, and the texts differ in length.
                UsageError: no text, or an item that is not text. SessionError: the engine failed,
                or its numbers are not finite.
        """
        ids, mask = self._tokenizer.encode(as_texts(texts))
        if mask.all():
            found = self._session.run({IDS.name: ids, MASK.name: mask})[LATENTS]
        elif self._session.text_parts is None:
            raise BundleError(
                "this bundle's text tower embeds each text alone; for batches whose padding "
                "counts, as in the official package, export it again with --levels."
            )
        else:
            counted = np.ones_like(mask)  # the padding, too
            found = latents_in_parts(self._session.text_parts, ids, mask, counted)
        check_finite(found, "latents for texts")
        return found

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def latents_in_parts(
    parts: TextParts, ids: np.ndarray, mask: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    """Embeddings of tokens, (texts, width).

    Args:
        parts: the tower's.
        ids: (texts, tokens) int64.
        mask: what the encoder attends to, of the same shape.
        counted: what the transformer above it attends to, and the mean is of.
    """
    states = parts.encoder.run({IDS.name: ids, MASK.name: mask})[STATES.name]
    return parts.transformer.run({STATES.name: states, MASK.name: counted})[LATENTS]


def open_text_encoder(
    folder: str | PathLike[str],
    artefact: str | None = None,
    threads: int | None = None,
    allow_uncertified: bool = False,
    device: str | None = None,
) -> TextEncoder:
    """The text tower of a bundle, on this machine.

    Args:
        folder: the bundle.
        artefact: its name; the bundle's first certified text tower when left out.
        threads, allow_uncertified, device: as ``load``'s.

    Raises:
        BundleError: not a bundle, without a text tower, changed since it was exported (the
            tokenizer included), or not certified. MissingDependencyError: the library
            ``tokenizers`` is not installed.
    """
    bundle = load_bundle(fspath(folder))
    chosen = bundle.artefact(artefact, allow_uncertified=allow_uncertified, tower="text")
    assert bundle.joint is not None  # the manifest is validated
    # First, because it checks the hashes of the tower's files, the tokenizer's among them.
    session = open_session(bundle, chosen, threads, device)
    try:
        tokenizer = TextTokenizer(bundle.path(bundle.joint.tokenizer), bundle.joint.max_tokens)
        return TextEncoder(session, tokenizer, learned_words(bundle, chosen))
    except MuqrtError:
        session.close()
        raise


def learned_words(bundle: Bundle, artefact: Artefact) -> LearnedWords | None:
    """The words that a text tower learned; None where its bundle does not say.

    Raises:
        BundleError: their file has changed since it was exported.
    """
    if WORDS_FILE not in artefact.files:
        return None
    return LearnedWords.read(bundle.verified(WORDS_FILE))


def _batches(lengths: np.ndarray) -> list[np.ndarray]:
    """Rows to run together: of similar lengths, and few enough."""
    batches: list[list[int]] = [[]]
    for row in np.argsort(lengths, kind="stable").tolist():
        # Ascending, so this one is the longest as yet.
        if batches[-1] and (len(batches[-1]) + 1) * lengths[row] > _TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(row)
    return [np.array(batch) for batch in batches]
