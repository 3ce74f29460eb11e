"""A batch's hidden states, each computed when it is first asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from torch import Tensor

from ..errors import BundleError
from ..runtime.engines.session import Levels

# Of a batch, (batch, steps, width), from numpy to where and what the caller wants.
Convert = Callable[[np.ndarray], Tensor]


class States:
    """The hidden states 0 to ``deepest``.

    In memory are level 0, the deepest that was computed, and the tensors that were asked for.

    Args:
        frames: level 0, (batch, steps, width) float32.
        levels: computes the others.
        bias: what its attention adds for each step; None where no step is masked.
        convert: makes the tensors.
        deepest: the model's last level, which the bundle may not reach.
        where: what errors call the bundle.
    """

    def __init__(
        self,
        frames: np.ndarray,
        levels: Levels,
        bias: np.ndarray | None,
        convert: Convert,
        deepest: int,
        where: str,
    ) -> None:
        self.deepest, self._where = deepest, where
        self._frames, self._levels, self._bias = frames, levels, bias
        self._convert = convert
        self._reached = 0, frames
        self._tensors: dict[int, Tensor] = {}

    def tensor(self, level: int) -> Tensor:
        """The hidden state at a level, from 0.

        Raises:
            BundleError: the bundle ends below it.
        """
        if level not in self._tensors:
            self._tensors[level] = self._convert(self.array(level))
        return self._tensors[level]

    def array(self, level: int) -> np.ndarray:
        """The same as an array that must not be changed."""
        if level > self._levels.deepest:
            raise BundleError(
                f"{self._where}: gives levels 0 to {self._levels.deepest} and not {level}. Export "
                "it again with --levels and without --level."
            )
        first, x = self._reached if self._reached[0] <= level else (0, self._frames)
        x = self._levels.run(x, first, level, self._bias)
        if level >= self._reached[0]:
            self._reached = level, x
        return x


class OneState:
    """The hidden state of a bundle that has no other.

    Args:
        tensor: at the bundle's level.
        level: which that is.
        deepest: the model's last level.
        where: what errors call the bundle.
    """

    def __init__(self, tensor: Tensor, level: int, deepest: int, where: str) -> None:
        self.deepest = deepest
        self._tensor, self._level, self._where = tensor, level, where

    def tensor(self, level: int) -> Tensor:
        """The hidden state at the bundle's level.

        Raises:
            BundleError: another level was asked for.
        """
        if level != self._level:
            raise BundleError(
                f"{self._where}: gives level {self._level} and not {level}. Export it again with "
                "--levels, which gives every level up to --level."
            )
        return self._tensor


class RowStates:
    """The states of a batch whose rows ran alone, each at its own length: zeros follow them.

    Args:
        rows: of each row, a batch of one.
        steps: the batch's.
    """

    def __init__(self, rows: "list[States]", steps: int) -> None:
        self.deepest = rows[0].deepest
        self._rows, self._steps = rows, steps

    def tensor(self, level: int) -> Tensor:
        """The hidden state at a level, (batch, steps, width)."""
        found = [row.tensor(level)[0] for row in self._rows]
        batch = found[0].new_zeros(len(found), self._steps, found[0].shape[-1])
        for row, state in zip(batch, found, strict=True):
            row[: len(state)] = state
        return batch


AnyStates = States | OneState | RowStates


class HiddenStates(tuple[Tensor, ...]):
    """The official tuple of hidden states, lazily: an item is computed when it is asked for.

    A function of PyTorch that takes a tuple gets them all; a slice is a plain tuple.
    """

    _states: AnyStates

    def __new__(cls, states: AnyStates) -> "HiddenStates":
        """One item per level, none computed."""
        found = super().__new__(
            cls,
            (_Pending(states, level) for level in range(states.deepest + 1)),  # type: ignore
        )
        found._states = states
        return found

    @overload
    def __getitem__(self, index: SupportsIndex) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Tensor | tuple[Tensor, ...]:
        found = range(len(self))[index]
        if isinstance(found, range):
            return tuple(self._states.tensor(level) for level in found)
        return self._states.tensor(found)

    def __iter__(self) -> Iterator[Tensor]:
        return (self._states.tensor(level) for level in range(len(self)))

    def __reversed__(self) -> Iterator[Tensor]:
        return reversed(tuple(self))

    def __add__(self, other: Any) -> Any:
        return tuple(self) + tuple(other)

    def __radd__(self, other: Any) -> Any:
        return tuple(other) + tuple(self)

    def __reduce__(self) -> Any:
        return tuple, (list(self),)

    def __repr__(self) -> str:
        return f"<{len(self)} hidden states>"


class _Pending:
    """A hidden state in a tuple that PyTorch reads without asking the tuple."""

    def __init__(self, states: AnyStates, level: int) -> None:
        self._states, self._level = states, level

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        return function(*map(_real, arguments), **{k: _real(v) for k, v in (named or {}).items()})


def _real(value: Any) -> Any:
    """The value with every pending state computed."""
    if isinstance(value, _Pending):
        return value._states.tensor(value._level)
    if isinstance(value, (list, tuple)):
        return tuple(map(_real, value))
    return value


def converter(device: torch.device, dtype: torch.dtype) -> Convert:
    """Copies arrays to tensors on a device: what the caller does to them changes no state."""
    return lambda array: torch.tensor(array, dtype=dtype, device=device)
