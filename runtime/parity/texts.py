"""Compare a text tower with the reference's answers."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..bundle.certificate import AnyMeasurement
from ..bundle.joint import IDS, LATENTS, MASK
from ..engines.session import Session
from ..text.encoder import latents_in_parts
from ..text.tokenizer import TextTokenizer
from .measuring import measure, measure_ranks


def text_measurements(
    session: Session,
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    expected: np.ndarray,
    music: Sequence[np.ndarray],
) -> Iterator[AnyMeasurement]:
    """Compare a text tower with the reference's on texts, alone and all in one batch.

    Args:
        session: of the tower.
        tokenizer: the reference's.
        texts: what to encode.
        expected: the reference's embeddings of them, (texts, width).
        music: the reference's embeddings of pieces of music, each (clips, width).
    """
    pieces = np.concatenate([*music])

    def answer(asked: Sequence[str]) -> np.ndarray:
        ids, mask = tokenizer.encode(asked)
        return session.run({IDS.name: ids, MASK.name: mask})[LATENTS]

    ways = {
        "each alone": np.concatenate([answer([text]) for text in texts]),
        "as a batch": answer(texts),
    }
    if session.text_parts is not None:
        ids, mask = tokenizer.encode(texts)
        ways["as a batch, in parts"] = latents_in_parts(session.text_parts, ids, mask, mask)
    for name, ours in ways.items():
        called = f"{len(texts)} texts, {name}"
        yield measure(called, 0.0, LATENTS, ours, expected)
        yield measure_ranks(called, 0.0, pieces @ ours.T, pieces @ expected.T)
