"""Options that belong together, as a dataclass: a flag for each field, and a file for all."""

from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass, make_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from annotated_types import Ge, Le
from typer.models import OptionInfo, ParameterInfo

from ..common.config import save_config, with_config
from ..common.console import Json
from ..errors import UsageError

Options = TypeVar("Options")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with any of these options; flags override it."),
]


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


def configured(
    kind: type[Options],
) -> Callable[[Callable[[Options, bool], None]], Callable[..., None]]:
    """Make a function of options and ``as_json`` a function that Typer turns into a command.

    Each field of the dataclass becomes a flag of its name, or what the ``typer.Option`` or
    ``typer.Argument`` in its annotation says; ``annotated_types.Ge`` and ``Le`` bound it, in a
    file too. After the command the options it ran with are in ``OUTPUT.toml``, beside its output.

    Args:
        kind: the options; one of its fields is ``output``, a path or None for no file.

    Raises:
        UsageError: when the command runs, the file is not named ``.toml``, or what ``with_config``
            raises.
    """
    given_kind = _all_optional(kind)

    def decorate(run: Callable[[Options, bool], None]) -> Callable[..., None]:
        def command(
            flags: given_kind,  # type: ignore[valid-type]
            config: ConfigFile = None,
            as_json: Json = False,
        ) -> None:
            if config is not None and config.suffix != ".toml":
                hint = " A model's size is given by --size." if hasattr(flags, "size") else ""
                raise UsageError(f"--config {config}: give a TOML file of options.{hint}")
            options = with_config(kind, config, vars(flags))
            run(options, as_json)
            output: Path | None = options.output  # type: ignore[attr-defined]
            if output is not None:
                place = output.resolve()
                save_config(options, place.with_name(f"{place.name}.toml"))

        command.__name__, command.__doc__ = run.__name__, run.__doc__
        return expand_options(command)

    return decorate


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


def _all_optional(kind: Any) -> type:
    """A dataclass with the same fields, its own before the inherited, None where not given."""
    hints = get_type_hints(kind, include_extras=True)
    inherited = {
        each.name for base in kind.__bases__ if is_dataclass(base) for each in fields(base)
    }
    own_first = sorted(fields(kind), key=lambda field: field.name in inherited)
    optional = [(each.name, _optional(each, hints[each.name]), None) for each in own_first]
    return make_dataclass(f"Given{kind.__name__}", optional)


def _optional(field: "Field[Any]", hint: Any) -> Any:
    """The field's type, or None, with an option that shows its default and bounds."""
    kind, *metadata = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    option = copy(
        next((each for each in metadata if isinstance(each, ParameterInfo)), OptionInfo())
    )
    for bound in metadata:
        if isinstance(bound, Ge):
            option.min = bound.ge  # type: ignore[assignment]
        if isinstance(bound, Le):
            option.max = bound.le  # type: ignore[assignment]
    if field.default is MISSING:
        option.help = f"{option.help} [required]"
    elif field.default is not None and field.default is not False:
        option.help = f"{option.help} [default: {field.default}]"
    return Annotated[kind | None, option]
