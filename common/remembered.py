"""What was measured on this machine, remembered in a file of the user's cache."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from .documents import read_json
from .files import atomic_file

_MOST_ENTRIES = 200

_Entry = TypeVar("_Entry")


class Remembered(Generic[_Entry]):
    """Entries of one dataclass by what they depend on. The oldest are forgotten; a file that is
    missing, damaged or cannot be written is gone without.

    Args:
        path: the file.
        kind: the dataclass.
    """

    def __init__(self, path: Path, kind: type[_Entry]) -> None:
        self._path, self._adapter = path, TypeAdapter(kind)

    def get(self, facts: Mapping[str, Any]) -> _Entry | None:
        """The entry that was stored for the same facts, if there is one."""
        try:
            return self._adapter.validate_python(self._entries().get(_key(facts)))
        except ValidationError:
            return None

    def put(self, facts: Mapping[str, Any], entry: _Entry) -> None:
        """Store an entry, in place of an earlier one for the same facts."""
        key = _key(facts)
        entries = {name: each for name, each in self._entries().items() if name != key}
        entries[key] = asdict(entry)  # type: ignore[call-overload]
        kept = dict(list(entries.items())[-_MOST_ENTRIES:])
        with suppress(OSError), atomic_file(self._path) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")

    def _entries(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            document = read_json(self._path)
            if isinstance(document, dict):
                return document
        return {}


def _key(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
