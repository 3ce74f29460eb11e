"""Keep recently used embeddings."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from ...common.lru import Lru

_Key = TypeVar("_Key", bound=Hashable)

# 100 MB at a width of 512, which is 2 KB each.
MOST = 50_000


class RecentLatents(Generic[_Key]):
    """Those of the texts, or whatever the keys are, that were asked for last.

    Args:
        most: how many are kept.

    Attributes:
        asked, found: how many were asked for so far, and were there.
    """

    def __init__(self, most: int = MOST) -> None:
        self._kept: Lru[_Key, np.ndarray] = Lru(most)
        self.asked = self.found = 0

    def of(self, keys: Sequence[_Key], compute: Callable[[list[_Key]], np.ndarray]) -> np.ndarray:
        """Every key's embedding, float32 (keys, width).

        Args:
            keys: at least one.
            compute: gives those of the keys that are not here; not called without any. What it
                raises is passed on, and nothing is kept.
        """
        recent = {key: self._kept.get(key) for key in keys}
        known = {key: vector for key, vector in recent.items() if vector is not None}
        new = [key for key in recent if key not in known]
        if new:
            known |= dict(zip(new, compute(new), strict=True))
        for key in keys:
            self._kept.put(key, known[key])
        self.asked += len(keys)
        self.found += len(keys) - len(new)
        return np.stack([known[key] for key in keys])
