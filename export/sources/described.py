"""A small JSON or TOML file that describes something learned elsewhere."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ...common.config import read_toml
from ...common.documents import read_json
from ...common.validation import first_problem
from ...errors import CheckpointError
from ...runtime.bundle.record import Record

SUFFIXES = (".json", ".toml")
_Record = TypeVar("_Record", bound=Record)


def described(path: Path, kind: type[_Record]) -> _Record:
    """The record in a file.

    Raises:
        UsageError: not TOML. CheckpointError: not JSON, or not such a record.
    """
    try:
        document: Any = read_toml(path) if path.suffix == ".toml" else read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: not JSON that can be read ({reason}).") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(kind.model_fields)
        problem = first_problem(error, "the file")
        raise CheckpointError(f"{path}: {problem}. Its fields are {fields}.") from None
