"""Texts in the parity gate: a text tower against the reference's."""

from collections.abc import Iterator, Sequence

import numpy as np

from ...runtime.bundle.certificate import AnyMeasurement
from ...runtime.bundle.joint import IDS, LATENTS, MASK
from ...runtime.engines.session import Session
from ...runtime.text.tokenizer import TextTokenizer
from ..sources.checkpoint import JointCheckpoint
from .measuring import measure, measure_ranks

# What people ask for, in the languages of the paper, and what no tower may stumble over.
TEXTS = (
    "jazz piano",
    "rainy night saxophone",
    "a happy song",
    "a sad song",
    "Fast punk rock with distorted guitars and shouted vocals.",
    "classical genres, hopeful mood, piano",
    "A slow ballad for voice and acoustic guitar in a minor key, recorded live in a small room",
    "techno, 130 bpm, no vocals",
    "baroque harpsichord solo",
    "deep, quiet, ambient drone",
    "female opera singer",
    "children's choir with orchestra",
    "欢快的小提琴",
    "一首适合海边的小提琴曲，节奏欢快",
    "安静的钢琴独奏",
    "重金属，电吉他，快速的鼓点",
    "悲伤的中文流行歌曲，女声",
    "嘻哈音乐",
    "música de baile latina",
    "🎷🌧️🌙",
    "x",
    "",
    "drums " * 100,
)


def text_measurements(
    session: Session,
    reference: JointCheckpoint,
    expected: np.ndarray,
    music: Sequence[np.ndarray],
) -> Iterator[AnyMeasurement]:
    """Compare a text tower with the reference's on ``TEXTS``, alone and all in one batch.

    Args:
        session: of the tower.
        reference: what it is compared with.
        expected: the reference's embeddings of ``TEXTS``.
        music: the reference's embeddings of pieces of music, each (clips, width).
    """
    tokenizer = TextTokenizer(reference.tokenizer, reference.joint.max_tokens)
    pieces = np.concatenate([*music])

    def answer(texts: Sequence[str]) -> np.ndarray:
        ids, mask = tokenizer.encode(texts)
        return session.run({IDS.name: ids, MASK.name: mask})[LATENTS]

    alone = np.concatenate([answer([text]) for text in TEXTS])
    for name, ours in (("each alone", alone), ("as a batch", answer(TEXTS))):
        called = f"{len(TEXTS)} texts, {name}"
        yield measure(called, 0.0, LATENTS, ours, expected)
        yield measure_ranks(called, 0.0, pieces @ ours.T, pieces @ expected.T)
