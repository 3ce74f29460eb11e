"""Commands whose options are a dataclass: a flag for each field, and ``--config`` for a file."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
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
    hints = get_type_hints(kind, include_extras=True)
    inherited = {
        each.name for base in kind.__bases__ if is_dataclass(base) for each in fields(base)
    }
    own_first = sorted(fields(kind), key=lambda field: field.name in inherited)  # type: ignore[arg-type]
    parameters = [_parameter(field, hints[field.name]) for field in own_first]
    for name, annotation, default in (("config", ConfigFile, None), ("as_json", Json, False)):
        parameters.append(_keyword(name, annotation, default))

    def decorate(run: Callable[[Options, bool], None]) -> Callable[..., None]:
        def command(config: Path | None, as_json: bool, **flags: Any) -> None:
            if config is not None and config.suffix != ".toml":
                hint = " A model's size is given by --size." if "size" in hints else ""
                raise UsageError(f"--config {config}: give a TOML file of options.{hint}")
            options = with_config(kind, config, flags)
            run(options, as_json)
            output: Path | None = options.output  # type: ignore[attr-defined]
            if output is not None:
                place = output.resolve()
                save_config(options, place.with_name(f"{place.name}.toml"))

        command.__name__, command.__doc__ = run.__name__, run.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(field: "Field[Any]", hint: Any) -> inspect.Parameter:
    """A field as a parameter that is None where the flag was not given."""
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
    return _keyword(field.name, Annotated[kind | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
