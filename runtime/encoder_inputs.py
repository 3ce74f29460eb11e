"""What ``Encoder.encode`` is given: inputs of several kinds, and options of other libraries."""

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np

from ..errors import UsageError

# Of encode's options elsewhere: what describes the caller's task, or how work is spread.
_OF_A_TASK = ("task_metadata", "hf_split", "hf_subset", "prompt_type")
_WITHOUT_EFFECT = (*_OF_A_TASK, "device", "pool", "chunk_size", "num_proc")
_ONLY = {"precision": "float32", "output_value": "sentence_embedding"}


def check_others(others: dict[str, Any]) -> None:
    """Raise UsageError for an option that would change the embeddings, and does not here."""
    for name, value in others.items():
        usual = value is None or value is False or _ONLY.get(name) == value
        if name not in _WITHOUT_EFFECT and not usual:
            raise UsageError(f"encode() has no {name}={value!r}; leave it out.")


def samples_of(given: Any, rate_hz: int | None) -> tuple[np.ndarray, int]:
    """An array of samples and its rate, however they are given."""
    array = given
    if isinstance(given, tuple) and len(given) == 2:
        array, rate_hz = given
    elif not hasattr(given, "__array__"):
        try:  # a dictionary, or a decoder that is used like one
            array, rate_hz = given["array"], given["sampling_rate"]
        except (TypeError, KeyError, IndexError):
            raise UsageError(
                f"an input of type {type(given).__name__}: give a path, a text, or "
                '{"array": samples, "sampling_rate": rate}.'
            ) from None
    if rate_hz is None:
        raise UsageError(
            "an array without its rate: pass sampling_rate=..., or "
            '{"array": samples, "sampling_rate": rate}.'
        )
    return np.asarray(array), int(rate_hz)


def column(inputs: Any, name: str) -> Iterator[Any]:
    """The items of a list, or of a column of a loader of batches."""
    for each in inputs if is_list(inputs) or hasattr(inputs, "dataset") else [inputs]:
        if hasattr(inputs, "dataset"):
            yield from each[name]
        else:
            yield each


def is_list(inputs: Any) -> bool:
    """Whether there are several inputs; a pair of an array and its rate is one."""
    if isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], Real):
        return False
    return isinstance(inputs, (list, tuple))


def batched(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The inputs in lists of this size, read as they are asked for."""
    batch: list[Any] = []
    for each in inputs:
        batch.append(each)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
