"""Embeddings that were computed lately."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

_Key = TypeVar("_Key", bound=Hashable)

# Of 2 KB each at a width of 512: 100 MB.
MOST = 50_000


class RecentLatents(Generic[_Key]):
    """Those of the texts, or whatever the keys are, that were asked for last.

    Args:
        most: how many are kept.

    Attributes:
        asked, found: how many were asked for so far, and were there.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[_Key, np.ndarray] = OrderedDict()
        self.asked = self.found = 0

    def of(self, keys: Sequence[_Key], compute: Callable[[list[_Key]], np.ndarray]) -> np.ndarray:
        """Every key's embedding, float32 (keys, width).

        Args:
            keys: at least one.
            compute: gives those of the keys that are not here; not called without any. What it
                raises is passed on, and nothing is kept.
        """
        new = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if new:
            self._kept.update(zip(new, compute(new), strict=True))
        for key in keys:
            self._kept.move_to_end(key)
        found = np.stack([self._kept[key] for key in keys])
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        self.asked += len(keys)
        self.found += len(keys) - len(new)
        return found
