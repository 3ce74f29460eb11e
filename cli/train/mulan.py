"""``muqrt train mulan``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.environment import import_extra
from ..parameters import configured
from .options import (
    BatchSize,
    Checkpoint,
    CropSeconds,
    LearningRate,
    ModelOptions,
    Steps,
    WarmupSteps,
)

if TYPE_CHECKING:
    from ...training.mulan.trainee import Shape

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class MulanOptions(ModelOptions):
    """Options of ``muqrt train mulan``."""

    muq: Checkpoint
    level: Annotated[
        int, typer.Option(help="Hidden state of MuQ below the audio tower; -1 is the deepest.")
    ] = -1
    text: Annotated[
        str | None,
        typer.Option(
            help="MuQ-MuLan whose text tower and tokenizer to start from; new ones by default."
        ),
    ] = None
    freeze_audio: Annotated[
        bool, typer.Option("--freeze-audio", help="Train only what is above MuQ.")
    ] = False
    freeze_text: Annotated[
        bool, typer.Option("--freeze-text", help="Train only what is above the text encoder.")
    ] = False
    states: Annotated[
        Path | None,
        typer.Option(
            help="Folder for MuQ's states under --freeze-audio, which several runs may share."
        ),
    ] = None
    size: Annotated[
        str, typer.Option(help="New parts: large (as released), mini, or the path of a JSON file.")
    ] = "large"
    steps: Steps = 20_000
    batch_size: BatchSize = 64
    crop_seconds: CropSeconds = 10.0
    learning_rate: LearningRate = 1e-4
    warmup_steps: WarmupSteps = 500


@commands.command()
@configured(MulanOptions)
def mulan(options: MulanOptions, as_json: bool) -> None:
    """Train a MuQ-MuLan on music and its descriptions."""
    import_extra("train", "lightning_fabric", "torch")
    from ...reference.checkpoint import load_checkpoint
    from ...reference.mulan.checkpoint import load_mulan
    from ...training.data.captioned import read_captioned
    from ...training.mulan.pipeline import Towers, train_mulan

    towers = Towers(
        muq=load_checkpoint(options.muq),
        level=options.level,
        shape=_shape(options.size),
        text=None if options.text is None else load_mulan(options.text),
        freeze_audio=options.freeze_audio,
        freeze_text=options.freeze_text,
    )
    captioned = read_captioned(options.corpus, options.least_seconds())
    train_mulan(options.job(captioned.corpus), captioned, towers, options.states).show(as_json)


def _shape(size: str) -> "Shape":
    from ...reference.mulan.config import read_config_as
    from ...training.mulan.trainee import SHAPES, Shape

    return SHAPES[size] if size in SHAPES else read_config_as(Shape, Path(size))
