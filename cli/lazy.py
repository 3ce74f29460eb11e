"""Commands that are imported when they are used, so that the command line starts at once."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name

from ..errors import UsageError

# Under each heading the commands' names, each with its module and one-line help, or a group.
Sections = Mapping[str, Mapping[str, "tuple[str, str] | LazyGroup"]]


class SectionedCommand(TyperCommand):
    """A command whose help lists options with a ``rich_help_panel`` below headings of their own."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options by heading."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for each in self.get_params(ctx):
            usual = "Arguments" if each.param_type_name == "argument" else "Options"
            if (record := each.get_help_record(ctx)) is not None:
                heading = getattr(each, "rich_help_panel", None) or usual
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class LazyCommand(TyperCommand):
    """A command's name and help; its module is imported when it runs or its own help is shown.

    Args:
        name: what the user types.
        module: its module, relative to ``muqrt.cli``, with a Typer app called ``commands``.
        help: the first line of the command's docstring.
    """

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(name, help=help)
        self._module = module

    def load(self) -> Any:
        """The command itself, as Typer makes it."""
        found = import_module(self._module, __package__).commands.registered_commands
        by_name = {get_command_name(each.name or each.callback.__name__): each for each in found}
        info = by_name[str(self.name)]
        if info.cls in (None, TyperCommand):
            info.cls = SectionedCommand
        # Rich's help takes longer to import than everything else that a help text needs.
        return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Import the command and let it parse its arguments."""
        return self.load().make_context(*args, **options)


class LazyGroup(TyperGroup):
    """Commands in sections, listed without importing any of them.

    Args:
        name: what the user types.
        help: one line about the whole.
        sections: the commands under each heading, in the order of the help.
        moved: old names, each with a sentence that names the new command.
        not_a_command: a sentence for a first argument that is not like any command of the group.
        options: further arguments of Typer's group.
    """

    def __init__(
        self,
        name: str,
        help: str,
        sections: Sections,
        moved: Mapping[str, str] | None = None,
        not_a_command: str | None = None,
        **options: Any,
    ) -> None:
        self._moved, self._not_a_command = moved or {}, not_a_command
        self.sections = {
            heading: [
                each if isinstance(each, LazyGroup) else LazyCommand(name, *each)
                for name, each in commands.items()
            ]
            for heading, commands in sections.items()
        }
        listed = [command for commands in self.sections.values() for command in commands]
        commands: dict[str, Any] = {str(command.name): command for command in listed}
        options = {"rich_markup_mode": None, **options}
        super().__init__(name=name, help=help, commands=commands, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help and exit with 2 if there are no arguments."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(UsageError.exit_code)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name, or say what to type instead."""
        if not ctx.resilient_parsing:
            if args[0] in self._moved:
                raise UsageError(self._moved[args[0]])
            if self._not_a_command and not get_close_matches(args[0], self.commands):
                raise UsageError(self._not_a_command)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections, with all help texts in one column."""
        width = max(map(len, self.commands))
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                rows = [(str(each.name).ljust(width), each.help or "") for each in commands]
                formatter.write_dl(rows)
