"""A cache that keeps the most recently used values."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Lru(Generic[_Key, _Value]):
    """Values by key; beyond the limit, the least recently used one is dropped.

    Args:
        limit: how many are kept.
        on_drop: called with each value that is dropped, by ``clear`` too.
    """

    def __init__(self, limit: int, on_drop: Callable[[_Value], None] | None = None) -> None:
        self._limit, self._on_drop = limit, on_drop
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def get(self, key: _Key) -> _Value | None:
        """The value, which now counts as used; None if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Keep a value."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._limit:
            self._drop()

    def clear(self) -> None:
        """Drop all."""
        while self._kept:
            self._drop()

    def _drop(self) -> None:
        _, value = self._kept.popitem(last=False)
        if self._on_drop is not None:
            self._on_drop(value)
