"""A cache of recorded runs (CUDA graphs)."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from ....common.lru import Lru

_Recorded = TypeVar("_Recorded")


class CudaGraphCache(Lru[Hashable, _Recorded | None]):
    """The most recently used recordings, by what they were recorded for.

    Args:
        limit: how many are kept.
        free: called with each recording that is dropped.
    """

    def __init__(self, limit: int, free: Callable[[_Recorded], None] | None = None) -> None:
        def drop(recording: _Recorded | None) -> None:
            if recording is not None and free is not None:
                free(recording)

        super().__init__(limit, drop)

    def ran_before(self, key: Hashable) -> bool:
        """Whether this was asked before: what runs only once is not worth recording, and a first
        run allocates and compiles, which cannot be recorded."""
        before = key in self
        if not before:
            self.put(key, None)
        return before
