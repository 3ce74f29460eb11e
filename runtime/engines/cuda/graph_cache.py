"""Recorded runs (CUDA graphs), the latest used of them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Recorded = TypeVar("_Recorded")


class CudaGraphCache(Generic[_Recorded]):
    """By what they were recorded for; the one that was not used for longest goes first.

    Args:
        forget: called with each that goes.
        limit: how many are kept.
    """

    def __init__(self, forget: Callable[[_Recorded], None], limit: int) -> None:
        self._forget, self._limit = forget, limit
        self._kept: OrderedDict[Hashable, _Recorded | None] = OrderedDict()

    def get(self, key: Hashable) -> _Recorded | None:
        """The recording for ``key``, if there is one."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def ran_before(self, key: Hashable) -> bool:
        """Whether this was asked before: what comes only once is not worth recording, and a first
        run does what cannot be recorded."""
        before = key in self._kept
        if not before:
            self._put(key, None)
        return before

    def put(self, key: Hashable, recording: _Recorded) -> None:
        """Keep a recording."""
        self._put(key, recording)

    def clear(self) -> None:
        """Forget all."""
        while self._kept:
            self._drop()

    def _put(self, key: Hashable, recording: _Recorded | None) -> None:
        self._kept[key] = recording
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._drop()

    def _drop(self) -> None:
        _, recording = self._kept.popitem(last=False)
        if recording is not None:
            self._forget(recording)
