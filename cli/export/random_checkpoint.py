"""``muqrt random-checkpoint``."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from ...common.console import Json, show
from ...common.environment import import_extra
from ...errors import UsageError

commands = typer.Typer()

_TOKENS = 300  # of a random MuQ-MuLan's tokenizer, at most


@commands.command("random-checkpoint")
def random_checkpoint(
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.")],
    size: Annotated[
        str, typer.Option(help="Model size: large (the released architecture), small or tiny.")
    ] = "small",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    outliers: Annotated[
        bool,
        typer.Option(
            "--outliers",
            help="Make a few channels much larger, which makes the model hard to quantize.",
        ),
    ] = False,
    model: Annotated[
        Literal["muq", "mulan"],
        typer.Option(help="Model to write: muq, or mulan with its text tower and tokenizer."),
    ] = "muq",
    as_json: Json = False,
) -> None:
    """Write a checkpoint with random weights, for tests.

    It has the official format.
    """
    import_extra("export", "onnx", "torch")
    from ...reference.random_model import CONFIGS

    if size not in CONFIGS:
        raise UsageError(f"size {size!r}: choose among {', '.join(CONFIGS)}.")
    if outliers and model == "mulan":
        raise UsageError("--outliers is for --model muq.")
    save = _save_random_mulan if model == "mulan" else partial(_save_random_muq, outliers=outliers)
    parameters = save(output, size, seed)
    about = {"model": model, "size": size, "seed": seed, "parameters": parameters}
    show(
        as_json,
        {"checkpoint": str(output), **about},
        f"Wrote {output}: {parameters / 1e6:.1f}M RANDOM weights; its answers mean nothing.",
    )


def _save_random_muq(output: Path, size: str, seed: int, outliers: bool) -> int:
    """Write a MuQ; returns the number of its weights."""
    from ...reference.checkpoint import save_checkpoint
    from ...reference.random_model import CONFIGS, random_model

    made = random_model(CONFIGS[size], seed, outliers)
    save_checkpoint(made, output)
    return sum(weight.numel() for weight in made.parameters())


def _save_random_mulan(output: Path, size: str, seed: int) -> int:
    """Write a MuQ-MuLan with a small tokenizer; returns the number of its weights."""
    from ...reference.mulan.checkpoint import save_mulan
    from ...reference.mulan.random_model import random_mulan
    from ...reference.mulan.tokenizer import PANGRAMS, fit_tokenizer

    made = random_mulan(size, seed)
    vocabulary = min(made.mulan.text.model.config.vocab_size, _TOKENS)
    with TemporaryDirectory() as temporary:
        tokenizer = Path(temporary) / "tokenizer.json"
        fit_tokenizer(PANGRAMS, vocabulary, tokenizer)
        save_mulan(made, output, tokenizer)
    return sum(weight.numel() for weight in made.parameters())
