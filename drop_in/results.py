"""The official answer's type: attributes, keys and positions of the same values."""

from collections import OrderedDict
from typing import Any, NoReturn

from torch import Tensor

from .states import AnyStates, HiddenStates


class BaseModelOutput(OrderedDict[str, Any]):
    """``last_hidden_state`` and, where asked for, ``hidden_states``; behaves as the class of that
    name in transformers does, and computes what is asked for.

    Args:
        states: of the batch.
        output_hidden_states: whether they are among the values.
    """

    attentions = None

    def __init__(self, states: AnyStates, output_hidden_states: bool = True) -> None:
        super().__init__()
        self._states = states
        self._hidden_states = HiddenStates(states) if output_hidden_states else None
        for name in ("last_hidden_state", "hidden_states")[: 1 + output_hidden_states]:
            super().__setitem__(name, None)

    @property
    def last_hidden_state(self) -> Tensor:
        """(batch, steps, width), the deepest level."""
        return self._states.tensor(self._states.deepest)

    @property
    def hidden_states(self) -> HiddenStates | None:
        """All levels, from 0; None where they were not asked for."""
        return self._hidden_states

    def to_tuple(self) -> tuple[Any, ...]:
        """The values."""
        return tuple(self.values())

    def __getitem__(self, key: Any) -> Any:
        names = list(self)
        if isinstance(key, str):
            if key not in names:
                raise KeyError(key)
            return getattr(self, key)
        chosen = names[key]
        if isinstance(chosen, str):
            return getattr(self, chosen)
        return tuple(getattr(self, name) for name in chosen)

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default where there is none of this name."""
        try:
            return self[key]
        except KeyError:
            return default

    def values(self) -> Any:
        """The values, in order."""
        return [self[name] for name in self]

    def items(self) -> Any:
        """The names and values, in order."""
        return [(name, self[name]) for name in self]

    def __setitem__(self, key: str, value: Any) -> None:
        self._refuse()

    def __delitem__(self, key: str) -> None:
        self._refuse()

    def update(self, *values: Any, **named: Any) -> None:
        """Raise TypeError: an answer is not changed."""
        self._refuse()

    def setdefault(self, *values: Any, **named: Any) -> Any:
        """Raise TypeError: an answer is not changed."""
        self._refuse()

    def pop(self, *values: Any, **named: Any) -> Any:
        """Raise TypeError: an answer is not changed."""
        self._refuse()

    def __reduce__(self) -> Any:
        return OrderedDict, (list(self.items()),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"

    def _refuse(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be changed: make a dict of it first.")
