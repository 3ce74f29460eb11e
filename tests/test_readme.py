"""Every command and snippet of the README and the pages runs, in order, as a new user runs them.

Blocks marked ``sh`` and ``python`` run. Blocks marked ``console`` need what a test does not have: a
GPU, a microphone, hours. Their commands and options have to exist.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from importlib.metadata import metadata
from pathlib import Path

import pytest

from muqrt.cli.app import app
from muqrt.cli.lazy import LazyCommand, LazyGroup

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
FIRST_BUNDLE = DOCS / "first-bundle.md"
HOW_TO = ("embed", "tag", "search", "stream", "serve", "train", "measure")
EXECUTED = [DOCS / "index.md", *(DOCS / "how-to" / f"{name}.md" for name in HOW_TO)]
LONG = {"train", "measure"}  # minutes on a slow machine
EVERY_PAGE = [README, *sorted(DOCS.rglob("*.md")), ROOT / "deploy" / "README.md"]
EVERY_PAGE += sorted(ROOT.glob("reference/checkpoints/*/README.md"))
# The released weights cannot be had offline; a tiny checkpoint of the same format stands in.
RELEASED = "OpenMuQ/MuQ-large-msd-iter"
SHIPPED = "reference/checkpoints"


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and text of each block that is to run."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, music: Path
) -> Iterator[Path]:
    """A reader's folder with a song, music and a checkpoint, after the page on the first bundle."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(music / "greensleeves_duo.flac", folder / "song.flac")
    shutil.copytree(music, folder / "music")
    shutil.copytree(tiny_checkpoint, folder / RELEASED)
    shutil.copytree(ROOT / SHIPPED, folder / SHIPPED)
    run_page(FIRST_BUNDLE, folder)
    yield folder


def run(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command, comments=True),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in order; a server that it starts runs until the page ends."""
    with ExitStack() as servers:
        for language, block in blocks(page):
            if language == "python":
                run(shlex.join([sys.executable, "-c", block]), folder)
                continue
            for command in block.replace("\\\n", " ").strip().splitlines():
                if command.startswith("muqrt serve"):
                    servers.enter_context(serving(command, folder))
                elif not command.startswith("pip install"):  # see test_every_extra_exists
                    run(command, folder)


class serving:  # noqa: N801 - used like a function
    """A context in which a ``muqrt serve`` command runs; it has said that it is ready."""

    def __init__(self, command: str, folder: Path) -> None:
        arguments = [sys.executable, "-m", *shlex.split(command), "--json"]
        self._process = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the server did not start"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.mark.slow
def test_the_readme_runs(desk: Path, tmp_path: Path) -> None:
    run_page(README, shutil.copytree(desk, tmp_path / "desk"))


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] * (page.stem in LONG), id=page.stem)
        for page in EXECUTED
    ],
)
def test_a_page_runs(page: Path, desk: Path) -> None:
    run_page(page, desk)


def test_pages_that_do_not_run_have_no_blocks_to_run() -> None:
    install = DOCS / "install.md"
    assert {page for page in EVERY_PAGE if blocks(page)} == {
        README,
        install,
        FIRST_BUNDLE,
        *EXECUTED,
    }
    lines = [line for _, block in blocks(install) for line in block.splitlines()]
    assert all(line.startswith("pip install") for line in lines)


def commands(page: Path) -> list[str]:
    """Every ``muqrt`` command of a page: a line of a block, or code in a sentence."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```(?:sh|console|python)?\n(.*?)^```", text, flags=re.DOTALL | re.M)
    indented = re.findall(r"^ {4,}(muqrt .+)$", text, flags=re.MULTILINE)
    lines = [*(line for block in fenced for line in block.splitlines()), *indented]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [code.replace("\n", " ") for code in re.findall(r"`(muqrt [^`]+)`", prose)]
    found = [line.strip() for line in lines if re.match(r"\s*muqrt [a-z]", line)]
    return sorted({*found, *inline})


@cache
def options(command: tuple[str, ...]) -> set[str]:
    """What a command's options are called."""
    found = app
    for name in command:
        assert isinstance(found, LazyGroup)
        found = found.commands[name]
    loaded = found.load() if isinstance(found, LazyCommand) else found
    return {name for each in loaded.params for name in (*each.opts, *each.secondary_opts)} | {
        "--help"
    }


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(page: Path) -> None:
    for line in commands(page):
        words = re.split(r"\s+", re.sub(r"\s[#&|>;].*", "", line))[1:]
        name: list[str] = []
        group = app
        while isinstance(group, LazyGroup) and words and not words[0].startswith("-"):
            name.append(words.pop(0))
            assert name[-1] in group.commands, f"{page.name}: {line}"
            group = group.commands[name[-1]]
        if isinstance(group, LazyGroup):  # named as a whole
            continue
        named = {
            word.split("=")[0].rstrip(",.;:)") for word in words if re.match(r"--?[a-z]", word)
        }
        assert named <= options(tuple(name)), f"{page.name}: {line}"


def test_every_extra_exists() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in EVERY_PAGE)
    named = re.findall(r"pip install[^\n]*'(?:\.|muqrt)\[([\w,]+)\]'", text)
    install = (DOCS / "install.md").read_text(encoding="utf-8")
    tabulated = set(re.findall(r"^\| `(\w+)` \|", install, re.MULTILINE))
    existing = set(metadata("muqrt").get_all("Provides-Extra", []))
    assert {extra for group in named for extra in group.split(",")} <= existing
    assert tabulated == existing


def test_the_readme_s_table_is_the_report_s() -> None:
    report = (ROOT / "benchmarks" / "results" / "cpu-epyc-2-cores.md").read_text(encoding="utf-8")
    row = r"^\| [\w. -]+? \| 2 \| 10 x 1 \| ([\d.]+) \|[^|]+\| ([\d.]+) \|"
    measured = {ratio: float(seconds) for seconds, ratio in re.findall(row, report, re.M)}
    told_row = r"^\| [^|]+ \| \**([\d.]+)\** \| \**([\d.]+)\** \|"
    told = re.findall(told_row, README.read_text(encoding="utf-8"), re.M)
    assert len(told) == 6
    for seconds, ratio in told:
        assert float(seconds) == pytest.approx(measured[ratio], abs=0.0051)
