"""The command line starts at once: a command is imported only when it is used."""

import inspect
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from muqrt.cli.app import app
from muqrt.cli.lazy import LazyCommand, LazyGroup

Command = Callable[..., CompletedProcess[str]]

# What `muqrt --help` may import besides Python's own library: Typer and what it is made of.
OF_TYPER = {"typer", "click", "annotated_doc", "shellingham", "typing_extensions", "colorama"}
HEAVY = {"torch", "onnx", "onnxruntime", "openvino", "tensorrt", "scipy", "sklearn", "lancedb"}
HEAVY |= {"matplotlib", "pyarrow", "soundfile", "soxr", "tokenizers", "tritonclient", "triton"}
HEAVY |= {"numpy", "rich"}
OF_THE_TABLE = {"muqrt", "muqrt.errors", "muqrt.common", "muqrt.common.moved"}
OF_THE_TABLE |= {"muqrt.common.console"}
OF_THE_TABLE |= {
    "muqrt.cli",
    "muqrt.cli.app",
    "muqrt.cli.ending",
    "muqrt.cli.lazy",
    "muqrt.common.interrupts",
}
SYSTEM = sysconfig._get_sysconfigdata_name()  # Python's own, named after the machine
MUQRT = [sys.executable, "-m", "muqrt"]
SHELLS = {
    "bash": {"COMP_WORDS": "muqrt em", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "muqrt em"},
    "fish": {"_TYPER_COMPLETE_ARGS": "muqrt em", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


def leaves(group: LazyGroup, above: str = "") -> dict[str, LazyCommand]:
    """Every command by its name, which has its group's before it; old names are left out."""
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, LazyGroup):
            found |= leaves(command, f"{above}{name} ")
        elif isinstance(command, LazyCommand):
            found[above + name] = command
    return found


COMMANDS = leaves(app)


def imported_by(*words: str) -> set[str]:
    """The modules that a command line imports, beyond those of an empty program."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"sys.argv = ['muqrt', *{words!r}]\n"
        "from muqrt.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: print(*set(sys.modules) - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: muqrt")
    return set(done.stderr.split())


def top_level(modules: set[str]) -> set[str]:
    """The libraries that modules belong to, without Python's own."""
    return {name.partition(".")[0] for name in modules} - {*sys.stdlib_module_names, SYSTEM}


def of_muqrt(modules: set[str]) -> set[str]:
    """The package's own modules among others."""
    return {name for name in modules if name.partition(".")[0] == "muqrt"}


def test_the_help_of_the_whole_imports_typer_and_the_table() -> None:
    modules = imported_by("--help")
    assert top_level(modules) <= OF_TYPER | {"muqrt"}
    assert of_muqrt(modules) == OF_THE_TABLE


@pytest.mark.parametrize("group", ["bench", "train"])
def test_the_help_of_a_group_imports_the_table_alone(group: str) -> None:
    assert of_muqrt(imported_by(group, "--help")) == OF_THE_TABLE


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    modules = imported_by(*name.split(), "--help")
    assert not top_level(modules) & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_in_the_table_is_the_docstrings(name: str) -> None:
    loaded = COMMANDS[name].load()
    assert COMMANDS[name].help == (inspect.getdoc(loaded.callback) or "").partition("\n")[0]
    assert loaded.help.startswith(COMMANDS[name].help)


def test_the_help_lists_every_command_in_its_section(muqrt: Command) -> None:
    done = muqrt("--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    headings = [lines.index(f"{each}:") for each in app.sections]
    assert list(app.sections) == ["Use", "Build", "Serve", "Train", "Measure"]
    assert headings == sorted(headings)
    for heading, end in zip(headings, [*headings[1:], len(lines)], strict=True):
        for command in app.sections[lines[heading][:-1]]:
            assert any(line.startswith(f"  {command.name} ") for line in lines[heading:end])


def test_the_version_is_one_line(muqrt: Command) -> None:
    done = muqrt("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version('muqrt')}\n", "")


@pytest.mark.parametrize(
    ("words", "new"),
    [
        ("bench-kernels checkpoint --device cpu", "muqrt bench kernels"),
        ("bench-towers --help", "muqrt bench towers"),
        ("loadtest --bundle bundle", "muqrt bench streams"),
        ("loadtest-chart a.csv -o a.png", "muqrt bench streams --output"),
        ("bench bundle --checkpoint checkpoint", "muqrt bench model BUNDLE"),
    ],
)
def test_an_old_name_says_the_new_one(muqrt: Command, words: str, new: str) -> None:
    done = muqrt(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert new in done.stderr
    assert done.stderr.startswith("muqrt: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("words", "meant"), [("tokn x", "tokens"), ("bench modl x", "model")])
def test_a_typing_error_is_answered_with_the_name_meant(
    muqrt: Command, words: str, meant: str
) -> None:
    done = muqrt(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Did you mean '{meant}'?" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shells_completion(shell: str, tmp_path: Path) -> None:
    # Without it the option looks at the process that started this one, and takes no argument.
    chosen = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [*MUQRT, "--show-completion", shell], capture_output=True, text=True, env=chosen, check=True
    )
    variables = {"_MUQRT_COMPLETE": f"complete_{shell}", **SHELLS[shell]}
    assert all(name in shown.stdout for name in variables)
    asked = {**os.environ, **variables}
    done = subprocess.run(MUQRT, capture_output=True, text=True, env=asked, check=True)
    assert "embed" in done.stdout and "tokens" not in done.stdout
    home = {**chosen, "HOME": str(tmp_path)}
    subprocess.run([*MUQRT, "--install-completion", shell], env=home, check=True)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_MUQRT_COMPLETE" in text or "complete" in text for text in written)


def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    program = tmp_path / "muqrt"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m muqrt "$@"\n')
    program.chmod(0o755)
    code = (
        'eval "$(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 muqrt --show-completion bash)"\n'
        "COMP_WORDS=(muqrt train pro); COMP_CWORD=2; _muqrt_completion muqrt\n"
        'echo "${COMPREPLY[@]}"'
    )
    path = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=path)
    assert (done.stdout, done.stderr) == ("probe\n", "")


@pytest.mark.parametrize("module", ["export.build", "export.command", "train"])
def test_threads_of_long_runs_wait_asleep(module: str) -> None:
    """PyTorch reads the policy when it is imported, so that it has to be there before."""
    code = f"import sys, os, muqrt.cli.{module}; print(os.environ['OMP_WAIT_POLICY'])\n"
    code += "assert 'torch' not in sys.modules"
    for given, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        environ = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | given
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True)
        assert done.stdout.decode().strip() == expected, done.stderr
