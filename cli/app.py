"""The ``muqrt`` command: the table of all commands, and exit codes for their errors.

0 done; 1 a gate failed (parity); 2 wrong usage; 3 bad input or a missing part.
"""

from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from ..common.console import note
from ..errors import MissingDependencyError, MuqrtError
from .ending import INTERRUPTED, ended_by_signals, leave, was_interrupted
from .lazy import LazyGroup, Sections

BAD_INPUT = 3

_WIDTH_COLUMNS = 100

# Each command's module and its docstring's first line: the module is imported only when the
# command runs or shows its own help.
_TRAIN: Sections = {
    "Commands": {
        "probe": (".train.probe", "Train a head for a task on MuQ's hidden states."),
        "rvq": (".train.command", "Fit Mel-RVQ, whose tokens MuQ is trained to predict."),
        "pretrain": (".train.command", "Pre-train a MuQ by masked prediction."),
        "iterate": (".train.command", "Train a MuQ again, on the tokens of a trained one's layer."),
        "mulan": (".train.mulan", "Train a MuQ-MuLan on music and its descriptions."),
        "compact": (".train.command", "Store a checkpoint in half the space, as float16."),
    }
}
_CATALOGUE: Sections = {
    "Commands": {
        "plan": (
            ".catalogue.plan",
            "Write a job: which tracks, what to compute, and with which model.",
        ),
        "run": (".catalogue.run", "Compute what is not done yet."),
        "status": (
            ".catalogue.command",
            "Show how far a job is: done, failed and to do, its rate, and the time left.",
        ),
        "retry": (".catalogue.command", "Have failed tracks tried again by the next run."),
        "export": (
            ".catalogue.command",
            "Write all results as one file or index, after checking that every track is there "
            "once.",
        ),
    }
}
_BENCH: Sections = {
    "Commands": {
        "model": (".bench.command", "Measure a bundle's speed against PyTorch and plain ONNX."),
        "kernels": (".bench.command", "Measure the mel and Mel-RVQ kernels against PyTorch."),
        "towers": (".bench.command", "Measure a MuQ-MuLan's towers on a CPU, against PyTorch."),
        "lengths": (
            ".bench.command",
            "Measure peak memory and seconds of long windows on a CPU, against PyTorch.",
        ),
        "drop-in": (
            ".bench.command",
            "Measure a script that uses the package muq on muqrt.drop_in, against the package.",
        ),
        "streams": (".bench.streams", "Measure how late the tags of many live streams come."),
        "front": (
            ".bench.command",
            "Measure what the front before a server costs a request, against a bare relay.",
        ),
        "gateway": (
            ".bench.gateway",
            "Measure files through the gateway, against a client that asks the server itself.",
        ),
        "catalogue": (
            ".bench.catalogue",
            "Measure what a catalogue's job costs: planning, resuming, and beside the model.",
        ),
        "search": (
            ".bench.catalogue",
            "Measure the search among many embeddings, exact and with an IVF-PQ.",
        ),
        "kept-states": (
            ".bench.kept_states",
            "Measure how wrong tags would be if live streams kept the states of past steps.",
        ),
        "targets": (
            ".bench.targets",
            "Build a model for every target of the edge; measure size, numbers and speed here.",
        ),
        "training": (".bench.command", "Measure a step of pre-training on a CPU."),
        "build": (
            ".bench.build",
            "Measure how long builds take, in what memory, and whether another version's are the "
            "same.",
        ),
        "compile": (
            ".bench.compile",
            "Compile every kind of graph for GPUs with TensorRT for RTX; needs no GPU.",
        ),
        "gpu": (".bench.command", "Test, build, prove and measure all that this GPU can run."),
    }
}
_COMMANDS: Sections = {
    "Use": {
        "embed": (".embed", "Turn audio into embeddings."),
        "tag": (".tag.command", "Tag audio with a head's tags or with your own labels."),
        "score": (".tag.score", "Score audio with a head that was trained elsewhere."),
        "watch": (
            ".watch",
            "Keep a folder's embeddings up to date while files come, change, move and go.",
        ),
        "catalogue": LazyGroup(
            "catalogue",
            "Compute embeddings, tags and tokens of millions of tracks, on one machine or many.",
            _CATALOGUE,
        ),
        "search": (".search", "Find music by a description or by an example."),
        "stream": (".stream.command", "Tag live audio while it plays."),
        "tokens": (".tokens", "Turn audio into the tokens of an RVQ."),
        "info": (".info", "Show what is in a bundle, and check every hash."),
    },
    "Build": {
        "export": (".export.command", "Turn a checkpoint into a bundle with proven numbers."),
        "build": (".export.build", "Add an artefact for another engine or precision."),
        "parity": (".export.command", "Compare a bundle with PyTorch and write its certificates."),
        "push": (".export.push", "Upload a bundle to the Hugging Face hub, with a model card."),
        "build-kernels": (
            ".export.build_kernels",
            "Compile and measure the fused kernels; needs no GPU.",
        ),
        "random-checkpoint": (
            ".export.random_checkpoint",
            "Write a checkpoint with random weights, for tests.",
        ),
    },
    "Serve": {
        "repository": (".serve", "Write or check a model repository for Triton."),
        "serve": (".serve", "Run Triton on a model repository until Ctrl-C."),
        "web": (".web.command", "Write a page that tags music in the browser, without a server."),
        "gateway": (".serving.gateway", "Answer uploads and live sound over HTTP until Ctrl-C."),
    },
    "Train": {
        "train": LazyGroup("train", "Train Mel-RVQ, MuQ, probes and MuQ-MuLan.", _TRAIN),
        "synth-corpus": (
            ".train.synth_corpus",
            "Compose, render and label a synthetic music corpus.",
        ),
    },
    "Measure": {
        "bench": LazyGroup(
            "bench",
            "Measure speed: a model, kernels, towers, long windows or live streams.",
            _BENCH,
            not_a_command="bench BUNDLE is now: muqrt bench model BUNDLE",
        ),
        "estimate": (
            ".bench.estimate",
            "Bound from below how fast a GPU can be: arithmetic, no measurement.",
        ),
        "evaluate": (".bench.evaluate", "Measure how much a model's features know about music."),
        "manifest": (".bench.evaluate", "Write a dataset's labels and splits for muqrt evaluate."),
        "doctor": (
            ".doctor",
            "Show what this machine can run, and which bundles can prove themselves on it.",
        ),
    },
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


_Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
]


def _root_options() -> list[Any]:
    """The options of ``muqrt`` itself, made by Typer: the version and the shells' completion."""
    options = typer.Typer()

    @options.command()
    def muqrt(version: _Version = False) -> None: ...

    return get_command(options).params


app = LazyGroup(
    "muqrt",
    "Put a trained MuQ into production: embeddings, tags, search, serving.",
    _COMMANDS,
    _MOVED,
    params=_root_options(),
    context_settings={"max_content_width": _WIDTH_COLUMNS},
)


def main() -> NoReturn:
    """Run the command line; users' mistakes become one line on stderr and an exit code."""
    try:
        with ended_by_signals():
            app(prog_name="muqrt")
    except SystemExit as ended:  # Click's way to end a command
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except MuqrtError as error:
        if isinstance(error, MissingDependencyError) and was_interrupted():
            _fail("interrupted.", INTERRUPTED)
        _fail(str(error), error.exit_code)
    except OSError as error:
        from ..common.files import DISK_FULL

        if error.errno in DISK_FULL:
            # Where a file was copied, the first name is the source's.
            full = error.filename2 or error.filename
            where = f"{full}: " if full else ""
            _fail(f"{where}the disk is full; nothing was left half-written.", BAD_INPUT)
        if was_interrupted():  # in the midst of closing a file: it is closed once more
            _fail("interrupted.", INTERRUPTED)
        _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted.", INTERRUPTED)
    except Exception:
        # Libraries make another error of a KeyboardInterrupt, such as numpy while it is imported.
        if was_interrupted():
            _fail("interrupted.", INTERRUPTED)
        raise
    leave(0)


def _fail(message: str, code: int) -> NoReturn:
    note(message)
    leave(code)
