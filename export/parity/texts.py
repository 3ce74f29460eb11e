"""Compare a text tower with the reference's."""

from collections.abc import Iterator, Sequence

import numpy as np

from ...runtime.bundle.certificate import AnyMeasurement
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.engines.session import Session
from ...runtime.text.tokenizer import TextTokenizer
from ..outputs.measuring import measure, measure_ranks
from ..sources.checkpoint import JointCheckpoint
from ..sources.texts import TEXTS


def text_measurements(
    session: Session, reference: JointCheckpoint, music: Sequence[np.ndarray]
) -> Iterator[AnyMeasurement]:
    """Compare a text tower with the reference's on ``TEXTS``, alone and all in one batch.

    Args:
        session: of the tower.
        reference: what it is compared with.
        music: the reference's embeddings of pieces of music, each (clips, width).
    """
    tokenizer = TextTokenizer(reference.tokenizer, reference.joint.max_tokens)
    pieces, expected = np.concatenate([*music]), reference.proving_texts

    def answer(texts: Sequence[str]) -> np.ndarray:
        ids, mask = tokenizer.encode(texts)
        return session.run({IDS.name: ids, MASK.name: mask})[LATENTS]

    alone = np.concatenate([answer([text]) for text in TEXTS])
    for name, ours in (("each alone", alone), ("as a batch", answer(TEXTS))):
        called = f"{len(TEXTS)} texts, {name}"
        yield measure(called, 0.0, LATENTS, ours, expected)
        yield measure_ranks(called, 0.0, pieces @ ours.T, pieces @ expected.T)
