"""The ``muqrt`` command: the table of all commands, and exit codes for their errors.

0 done; 1 a gate failed (parity); 2 wrong usage; 3 bad input or a missing part.
"""

import errno
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from ..errors import MuqrtError
from .lazy import LazyCommand, LazyGroup, Sections

BAD_INPUT = 3
INTERRUPTED = 130

_WIDTH_COLUMNS = 100

# A command is imported only when it runs, or when its own help is shown. What is said of it here
# is its docstring's first line.
_TRAIN: Sections = {
    "Commands": [
        LazyCommand(
            "probe", ".train.probe", "Train a head that answers a task by a MuQ's hidden states."
        ),
        LazyCommand(
            "rvq", ".train.command", "Fit Mel-RVQ, whose tokens MuQ is trained to predict."
        ),
        LazyCommand("pretrain", ".train.command", "Pre-train a MuQ by masked prediction."),
        LazyCommand(
            "iterate",
            ".train.command",
            "Train a MuQ again, on the tokens of a trained one's latent level.",
        ),
        LazyCommand(
            "mulan", ".train.mulan", "Train a MuQ-MuLan: music and the texts that describe it."
        ),
        LazyCommand(
            "compact",
            ".train.command",
            "Store a MuQ or a MuQ-MuLan in half the space, as float16.",
        ),
    ]
}
_BENCH: Sections = {
    "Commands": [
        LazyCommand(
            "model",
            ".bench.model",
            "Measure how fast a bundle is, against PyTorch and plain ONNX, on this machine.",
        ),
        LazyCommand(
            "kernels",
            ".bench.kernels",
            "Measure the mel and Mel-RVQ operations alone, against PyTorch.",
        ),
        LazyCommand(
            "towers", ".bench.towers", "Measure a MuQ-MuLan's towers on a CPU, against PyTorch."
        ),
        LazyCommand(
            "streams",
            ".bench.streams",
            "Play many live streams at once in real time, and measure how late their tags come.",
        ),
        LazyCommand(
            "gpu",
            ".bench.gpu",
            "Test, build, prove and measure everything that this machine's GPU can run.",
        ),
    ]
}
_COMMANDS: Sections = {
    "Use": [
        LazyCommand(
            "embed", ".embed", "Turn audio into embeddings, on this machine or on a server."
        ),
        LazyCommand(
            "tag",
            ".tag.command",
            "Tag audio and say where each tag applies: a trained head's tags, or your own labels.",
        ),
        LazyCommand(
            "search",
            ".search",
            "Find music by a description, or by an example of how it should sound.",
        ),
        LazyCommand(
            "stream",
            ".stream.command",
            "Tag live audio while it plays; the stream ends with the audio or with Ctrl-C.",
        ),
        LazyCommand(
            "tokens",
            ".tokens",
            "Turn audio into the tokens of an RVQ, on this machine or on a server.",
        ),
        LazyCommand("info", ".info", "Show what is in a bundle, and check every hash."),
    ],
    "Build": [
        LazyCommand(
            "export",
            ".export.command",
            "Turn a checkpoint into a bundle whose numbers are proven.",
        ),
        LazyCommand(
            "build",
            ".export.build",
            "Add an artefact to a bundle: another precision or engine, with a certificate of its "
            "own.",
        ),
        LazyCommand(
            "parity",
            ".export.command",
            "Compare every artefact with the PyTorch reference and write its certificate.",
        ),
        LazyCommand(
            "build-kernels",
            "..kernels.build",
            "Compile and measure the fused kernels; needs no GPU.",
        ),
        LazyCommand(
            "random-checkpoint",
            ".export.random_checkpoint",
            "Write a checkpoint in the official format with random weights: for tests and "
            "benchmarks.",
        ),
    ],
    "Serve": [
        LazyCommand(
            "repository",
            ".serve",
            "Write a bundle's artefact as a model of a Triton model repository, or check one.",
        ),
        LazyCommand("serve", ".serve", "Run Triton on a model repository until Ctrl-C."),
    ],
    "Train": [
        LazyGroup("train", "Train Mel-RVQ, MuQ, probes and MuQ-MuLan.", _TRAIN),
        LazyCommand(
            "synth-corpus",
            ".synth_corpus",
            "Compose, render and label music: a corpus to train and test on.",
        ),
    ],
    "Measure": [
        LazyGroup(
            "bench",
            "Measure speed: of a model, its kernels, its towers, or live streams.",
            _BENCH,
            not_a_command="bench BUNDLE is now: muqrt bench model BUNDLE",
        ),
        LazyCommand(
            "evaluate",
            ".bench.evaluate",
            "Measure how much bundles' features know about music: probes on labelled recordings.",
        ),
        LazyCommand(
            "manifest",
            ".bench.evaluate",
            "Write a published dataset's labels and splits as a manifest for muqrt evaluate.",
        ),
        LazyCommand(
            "doctor", ".doctor", "Show what this machine can run: engines, GPU, versions, server."
        ),
    ],
}
_MOVED = {
    "bench-kernels": "bench-kernels is now: muqrt bench kernels",
    "bench-towers": "bench-towers is now: muqrt bench towers",
    "loadtest": "loadtest is now: muqrt bench streams",
    "loadtest-chart": "loadtest-chart is gone: muqrt bench streams --output draws a chart itself",
}


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("muqrt"))
        raise typer.Exit


def _root_options() -> list[Any]:
    """The options of ``muqrt`` itself, made by Typer: the version and the shells' completion."""
    options = typer.Typer()

    @options.command()
    def muqrt(
        version: Annotated[
            bool,
            typer.Option(
                "--version", is_eager=True, callback=_show_version, help="Show the version."
            ),
        ] = False,
    ) -> None: ...

    return get_command(options).params


app = LazyGroup(
    "muqrt",
    "Put a trained MuQ into production: embeddings, tags and search, proven parity, serving.",
    _COMMANDS,
    _MOVED,
    params=_root_options(),
    context_settings={"max_content_width": _WIDTH_COLUMNS},
)


def main() -> NoReturn:
    """Run the command line; users' mistakes become one line on stderr and an exit code."""
    # A stopped container cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="muqrt")
    except MuqrtError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}the disk is full; nothing was left half-written.", BAD_INPUT)
        _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted.", INTERRUPTED)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    print(f"muqrt: {message}", file=sys.stderr)
    sys.exit(code)
