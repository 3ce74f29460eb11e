"""Options in a TOML file: read into their dataclass, overridden by flags, written back."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from ..errors import UsageError
from .files import atomic_file
from .validation import first_problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Options = TypeVar("Options")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this configuration: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8
        raise UsageError(f"{path}: not TOML: {error}.") from None


def with_config(kind: type[Options], path: Path | None, flags: Mapping[str, Any]) -> Options:
    """Options from a TOML file, each overridden by its flag where one was given.

    Args:
        kind: the options' dataclass, whose fields are the file's keys. A field that is a dataclass
            itself is a table.
        path: the file; None: the flags alone.
        flags: values by field name; one that is None was not given.

    Raises:
        UsageError: the file is missing or not TOML, or a key is unknown, missing or has a value
            that is not allowed.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    table = read_toml(path) if path is not None else {}
    _refuse_unknown_keys(kind, table, f"{path}: ")
    document = json.dumps(to_jsonable_python(table | given))
    try:
        # Strictly, so that no text counts as a number; as JSON, in which a tuple is a list.
        return TypeAdapter(kind).validate_json(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        of_flag = path is None or (first["loc"] and first["loc"][0] in given)
        source = "" if of_flag else f"{path}: "
        value = "" if isinstance(first["input"], dict) else f" (found {first['input']!r})"
        raise UsageError(f"{source}{first_problem(error)}{value}.") from None


def to_table(options: Any) -> dict[str, Any]:
    """A dataclass of options as a TOML table, without the values that are None.

    Reading the table gives the options again, since only a field whose default is None may be None.
    """
    table: dict[str, Any] = _without_none(
        TypeAdapter(type(options)).dump_python(options, mode="json")
    )
    return table


def save_config(options: Any, path: Path) -> None:
    """Write a dataclass of options as TOML, whole or not at all, for ``with_config`` to read."""
    import tomli_w

    with atomic_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(to_table(options)), encoding="utf-8")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


def _refuse_unknown_keys(kind: Any, table: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.init]
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}unknown key {key!r}; allowed: {', '.join(known)}.")
        for each in (hints[key], *get_args(hints[key])):
            if isinstance(each, type) and is_dataclass(each) and isinstance(value, dict):
                _refuse_unknown_keys(each, value, f"{where}{key}: ")
