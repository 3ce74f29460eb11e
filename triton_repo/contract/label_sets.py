"""Label sets in files, which may change while the server runs."""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...common.validation import first_problem
from ...errors import UsageError
from ...runtime.bundle.record import Record
from ...runtime.text.labels import TEMPLATES, LabelSet, read_labels

FOLDER = "label_sets"
SUFFIXES = (".txt", ".json")
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_NAMES_SHOWN = 20

# Modification time, size and inode: editors replace files.
_Stamp = tuple[int, int, int]


class _Document(Record):
    """A label set as JSON."""

    labels: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES


@dataclass
class LabelSets:
    """The label sets in a folder: ``NAME.txt`` with a label a line, or ``NAME.json`` with
    ``{"labels": [...], "templates": [...]}``. Files that change are read again.
    """

    folder: Path

    def __post_init__(self) -> None:
        self._read: dict[str, tuple[_Stamp, LabelSet]] = {}

    def named(self, name: str) -> LabelSet:
        """The label set of that name, as its file is now."""
        path = self._path(name)
        try:
            status = path.stat()
        except OSError as error:  # removed a moment ago
            raise UsageError(f"label set {name!r}: {error.strerror}.") from None
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
        known = self._read.get(name)
        if known is None or known[0] != stamp:
            known = self._read[name] = stamp, _read(name, path)
        return known[1]

    def _path(self, name: str) -> Path:
        if re.fullmatch(_NAME, name):
            for path in (self.folder / f"{name}{suffix}" for suffix in SUFFIXES):
                if path.is_file():
                    return path
        files = self.folder.glob("*") if self.folder.is_dir() else ()
        known = sorted(each.stem for each in files if each.suffix in SUFFIXES)
        shown = ", ".join(known[:_NAMES_SHOWN]) + (", ..." if known[_NAMES_SHOWN:] else "")
        raise UsageError(f"no label set {name[:100]!r}; there are: {shown or 'none'}.")


def _read(name: str, path: Path) -> LabelSet:
    try:
        if path.suffix == ".txt":
            return LabelSet(tuple(read_labels(path)))
        document = _Document.model_validate_json(path.read_bytes())
        return LabelSet(document.labels, document.templates)
    except ValidationError as error:
        problem = first_problem(error, "the file")
        raise UsageError(f"label set {name!r}: {problem}") from None
    except (UsageError, OSError) as error:
        raise UsageError(f"label set {name!r}: {error}") from None
