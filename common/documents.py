"""JSON that may be a stranger's: of bounded size, depth and number of values."""

import json
from pathlib import Path
from typing import Any

from .files import read_text

_LIMIT_BYTES = 1 << 20
_MOST_LEVELS = 32
_MOST_VALUES = 1_000_000


def read_json(path: Path, limit_bytes: int = _LIMIT_BYTES, most_values: int = _MOST_VALUES) -> Any:
    """A JSON file's value.

    Raises:
        OSError: it cannot be read. ValueError: not JSON in UTF-8, or larger or deeper than any
            that this package reads.
    """
    try:
        document = json.loads(read_text(path, limit_bytes))
    except RecursionError:
        raise ValueError(f"nested deeper than {_MOST_LEVELS} levels") from None
    check_nesting(document, most_values)
    return document


def check_nesting(document: object, most_values: int = _MOST_VALUES) -> None:
    """Raise ValueError if lists and dictionaries are nested too deeply, or hold too many values.

    A value counts wherever it is referred to, as it would in JSON.
    """
    values = 0
    waiting: list[tuple[object, int]] = [(document, 0)]
    while waiting:
        value, level = waiting.pop()
        if not isinstance(value, (dict, list, tuple)):
            continue
        if level == _MOST_LEVELS:
            raise ValueError(f"nested deeper than {_MOST_LEVELS} levels")
        values += len(value)
        if values > most_values:
            raise ValueError(f"more than {most_values} values")
        items = value.values() if isinstance(value, dict) else value
        waiting += [(each, level + 1) for each in items]
