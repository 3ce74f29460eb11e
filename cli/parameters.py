"""Options that belong together, as one parameter of a command."""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn each parameter that is a dataclass into one option for each of its fields.

    The fields' types are those that Typer reads: ``Annotated[..., typer.Option(...)]``. Used below
    ``@commands.command()``::

        @commands.command()
        @expand_options
        def embed(audio: AudioPaths, where: Where) -> None: ...
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    groups: dict[str, Any] = {}
    for each in signature(command).parameters.values():
        kind = hints[each.name]
        if is_dataclass(kind):
            groups[each.name] = kind
            parameters += _parameters(kind)
        else:
            parameters.append(each.replace(kind=Parameter.KEYWORD_ONLY, annotation=kind))

    @wraps(command)
    def expanded(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        command(**given)

    expanded.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {each.name: each.annotation for each in parameters}
    return expanded


def _parameters(kind: Any) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]
