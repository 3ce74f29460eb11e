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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from functools import cache
from importlib.metadata import metadata
from io import StringIO
from pathlib import Path

import pytest

from muqrt.cli.app import app, main
from muqrt.cli.lazy import LazyCommand, LazyGroup
from muqrt.triton_repo.server.ports import usable_ports

from .runtime.hub.conftest import hub

__all__ = ["hub"]

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
FIRST_BUNDLE = DOCS / "first-bundle.md"
HOW_TO = ("embed", "audio-files", "tag", "search", "stream", "serve", "train", "measure", "drop-in")
HOW_TO += ("share", "watch", "catalogue")
EXECUTED = [
    DOCS / "install.md",
    DOCS / "index.md",
    *(DOCS / "how-to" / f"{name}.md" for name in HOW_TO),
]
LONG = {"train", "measure"}  # minutes on a slow machine
EVERY_PAGE = [README, *sorted(DOCS.rglob("*.md")), ROOT / "deploy" / "README.md"]
EVERY_PAGE += sorted(ROOT.glob("reference/checkpoints/*/README.md"))
# The released weights cannot be had offline; a tiny checkpoint of the same format stands in.
RELEASED = "OpenMuQ/MuQ-large-msd-iter"
SHIPPED = "reference/checkpoints"
PORTS = {"--http-port": 8000, "--grpc-port": 8001, "--metrics-port": 8002}


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
    run_page(FIRST_BUNDLE, folder, here)
    yield folder


def here(words: list[str], folder: Path) -> None:
    """Run a command in this process, which has imported what each process would import anew."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as output:
        patch.chdir(folder)
        # Two of the lengths that artefacts are compared at; test_full_size.py has all.
        patch.setattr("muqrt.export.parity.excerpt.EXCERPT_SAMPLES", (24_000, 33_333))
        if words[0] != "muqrt":
            exec(words[-1], {"__name__": "__main__"})
            return
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code, f"{shlex.join(words)}\n{output.getvalue()}"


def anew(words: list[str], folder: Path) -> None:
    """Run a command in a process of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def run_page(page: Path, folder: Path, run: Callable[[list[str], Path], None]) -> None:
    """Run the blocks of a page in order; a server that it starts runs until the page ends.

    It does not take the ports that the page names: another server may have them.
    """
    ports = [str(port) for port in usable_ports(dict.fromkeys(PORTS, ("127.0.0.1", None)))]
    with ExitStack() as servers:
        for language, block in blocks(page):
            for usual, free in zip(PORTS.values(), ports, strict=True):
                block = block.replace(f"localhost:{usual}", f"localhost:{free}")
            if language == "python":
                run([sys.executable, "-c", block], folder)
                continue
            for command in block.replace("\\\n", " ").strip().splitlines():
                words = shlex.split(command, comments=True)
                if words[:2] == ["muqrt", "serve"]:
                    options = (f"{name}={free}" for name, free in zip(PORTS, ports, strict=True))
                    servers.enter_context(serving([*words, *options], folder))
                elif words[:2] != ["pip", "install"]:  # see test_every_extra_exists
                    run(words, folder)


class serving:  # noqa: N801 - used like a function
    """A context in which a ``muqrt serve`` command runs; it has said that it is ready."""

    def __init__(self, words: list[str], folder: Path) -> None:
        command = [sys.executable, "-m", *words, "--json"]
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the server did not start"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.mark.slow
def test_the_readme_runs(desk: Path, tmp_path: Path) -> None:
    run_page(README, shutil.copytree(desk, tmp_path / "desk"), anew)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] * (page.stem in LONG), id=page.stem)
        for page in EXECUTED
    ],
)
def test_a_page_runs(page: Path, desk: Path, request: pytest.FixtureRequest) -> None:
    if page.stem == "share":  # with a stand-in for the Hugging Face hub
        request.getfixturevalue("hub")
    run_page(page, desk, anew if page.stem in LONG else here)


def test_the_ports_are_the_usual_ones() -> None:
    """Or a page would be run with ports that its readers do not get."""
    serve = app.commands["serve"]
    assert isinstance(serve, LazyCommand)
    defaults = {each.opts[0]: each.default for each in serve.load().params}
    assert {name: defaults[name] for name in PORTS} == PORTS


def test_pages_that_do_not_run_have_no_blocks_to_run() -> None:
    assert {page for page in EVERY_PAGE if blocks(page)} == {README, FIRST_BUNDLE, *EXECUTED}


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
    named = re.findall(r"pip install[^\n]*'(?:\.|muqrt)\[([\w,-]+)\]'", text)
    install = (DOCS / "install.md").read_text(encoding="utf-8")
    tabulated = set(re.findall(r"^\| `([\w-]+)` \|", install, re.MULTILINE))
    existing = set(metadata("muqrt").get_all("Provides-Extra", []))
    assert {extra for group in named for extra in group.split(",")} <= existing
    assert tabulated == existing


def test_the_readme_s_table_is_the_report_s() -> None:
    results = ROOT / "benchmarks" / "results"
    report = (results / "cpu-zen5-epyc-2-cores.md").read_text(encoding="utf-8")
    row = r"^\| [\w. -]+? \| 2 \| 10 x 1 \| ([\d.]+) \|[^|]+\| ([\d.]+) \|"
    measured = {ratio: float(seconds) for seconds, ratio in re.findall(row, report, re.M)}
    told_row = r"^\| [^|]+ \| \**([\d.]+)\** \| \**([\d.]+)\** \|"
    told = re.findall(told_row, README.read_text(encoding="utf-8"), re.M)
    assert len(told) == 6
    for seconds, ratio in told:
        assert float(seconds) == pytest.approx(measured[ratio], abs=0.0051)
