"""Texts that clients send: labels to tag with, and texts to compare audio with."""

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from ..common.lru import Lru
from ..runtime.text.encoder import TextEncoder
from ..triton_repo.client.endpoint import Endpoint
from ..triton_repo.client.zero_shot import embed_texts

# Of one request each, and up to 2 MB.
_KEPT_ANSWERS = 16
OnTexts = Callable[[int], None]
# Texts' embeddings, float32 (texts, width), each of length one; told how many more are done.
Embed = Callable[[Sequence[str], OnTexts], np.ndarray]
# The texts' words that a model did not learn; None where it does not say.
Unlearned = Callable[[Sequence[str]], tuple[str, ...] | None]


class Texts:
    """Embeds texts, those of a recent request once. Several threads may use it.

    Args:
        embed: the text tower.
        unlearned: which words it did not learn.
    """

    def __init__(self, embed: Embed, unlearned: Unlearned = lambda texts: None) -> None:
        self._embed, self._lock = embed, Lock()
        self.unlearned = unlearned
        # By request, not by text: to the last bit an embedding depends on its batch.
        self._recent: Lru[tuple[str, ...], np.ndarray] = Lru(_KEPT_ANSWERS)

    def embed(self, texts: Sequence[str], on_texts: OnTexts) -> np.ndarray:
        """The texts' embeddings, float32 (texts, width), each of length one.

        Args:
            texts: at least one.
            on_texts: called with how many more are done.
        """
        key = tuple(texts)
        with self._lock:
            found = self._recent.get(key)
        if found is None:
            found = self._embed(key, on_texts)
            with self._lock:
                self._recent.put(key, found)
        return found


def local_texts(open_encoder: Callable[[], TextEncoder]) -> Texts:
    """Texts by a tower in this process, which is opened when it is first needed."""
    lock, opened = Lock(), list[TextEncoder]()

    def encoder() -> TextEncoder:
        with lock:
            if not opened:
                opened.append(open_encoder())
        return opened[0]

    return Texts(
        lambda texts, on_texts: encoder().encode(texts, on_texts),
        lambda texts: encoder().unlearned(texts),
    )


def served_texts(server: Endpoint, audio_model: str) -> Texts:
    """Texts by the tower on a server, beside the model for audio."""
    model = f"{audio_model.removesuffix('mulan_audio')}mulan_text"
    return Texts(lambda texts, on_texts: embed_texts(server, texts, model, on_texts=on_texts))
