"""Options from flags and from a TOML file: one schema, and the effective ones beside the result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from annotated_types import Ge
from typer.testing import CliRunner

from muqrt.cli.parameters import configured
from muqrt.common.config import read_toml
from muqrt.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Shared:
    output: Annotated[Path, typer.Option("--output", "-o", help="Where it goes.")]
    steps: Annotated[int, Ge(1), typer.Option(help="How many.")] = 3


@dataclass(frozen=True, kw_only=True)
class Options(Shared):
    source: Annotated[Path, typer.Argument(help="What to read.")]
    steps: Annotated[int, Ge(1), typer.Option(help="How many.")] = 5
    rate: Annotated[float, typer.Option(help="How fast.")] = 0.1
    half: Annotated[bool, typer.Option("--half", help="Half as much.")] = False
    size: Annotated[str | None, typer.Option(help="How large.")] = None


app = typer.Typer(rich_markup_mode=None)
ran: list[tuple[Options, bool]] = []


@app.command()
@configured(Options)
def work(options: Options, as_json: bool) -> None:
    """Do it."""
    ran.append((options, as_json))


def run(*arguments: object) -> tuple[Options, bool]:
    CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return ran.pop()


def test_flags_alone(tmp_path: Path) -> None:
    options, as_json = run("music", "-o", tmp_path / "out", "--half", "--rate", 1, "--json")
    expected = Options(source=Path("music"), output=tmp_path / "out", half=True, rate=1.0)
    assert (options, as_json) == (expected, True)
    assert options.steps == 5


def test_a_flag_overrides_the_file_and_the_effective_options_can_be_run_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "options.toml"
    file.write_text('source = "music"\nsteps = 7\nrate = 2\nhalf = true\n')
    options, _ = run("--config", file, "-o", tmp_path / "out", "--steps", 9)
    assert (options.source, options.steps, options.rate) == (Path("music"), 9, 2.0)
    assert options.half
    assert read_toml(tmp_path / "out.toml")["steps"] == 9
    assert run("--config", tmp_path / "out.toml") == (options, False)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", ("music",), "output"),
        ('output = "out"', (), "source"),
        ('source = "music"\nstep = 7', ("-o", "out"), "unknown key 'step'"),
        ('source = "music"\nsteps = 0', ("-o", "out"), "steps"),
        ('source = "music"\nsteps = "7"', ("-o", "out"), "steps"),
    ],
)
def test_what_a_file_gets_wrong_is_named(
    text: str, flags: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "options.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        run("--config", file, *flags)
    assert not ran


def test_a_size_in_the_place_of_a_file_is_told_where_it_belongs() -> None:
    with pytest.raises(UsageError, match=r"--config mini: give a TOML file.*--size"):
        run("music", "-o", "out", "--config", "mini")


def test_the_help_has_defaults_bounds_and_the_files_flag() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for part in ("default: 5", "default: 0.1", "x>=1", "required", "--config", "--half"):
        assert part in text
