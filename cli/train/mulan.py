"""``muqrt train mulan``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json
from .options import (
    Accelerator,
    Batch,
    Bf16,
    Corpus,
    CropSeconds,
    Devices,
    Ema,
    Nodes,
    Output,
    Rate,
    Save,
    Seed,
    Shortest,
    Steps,
    Warmup,
    Workers,
    require_extra,
)

if TYPE_CHECKING:
    from ...training.mulan.trainee import Shape

commands = typer.Typer()


@commands.command()
def mulan(
    corpus: Corpus,
    output: Output,
    muq: Annotated[str, typer.Option(help="The trained MuQ: a folder, file or hub id.")],
    level: Annotated[
        int, typer.Option(help="Which of MuQ's hidden states is heard; -1 is the deepest.")
    ] = -1,
    text: Annotated[
        str | None,
        typer.Option(help="A MuQ-MuLan whose text tower and tokenizer to start from; new if none."),
    ] = None,
    freeze_audio: Annotated[
        bool, typer.Option("--freeze-audio", help="Train only what is above MuQ.")
    ] = False,
    freeze_text: Annotated[
        bool, typer.Option("--freeze-text", help="Train only what is above the text encoder.")
    ] = False,
    states: Annotated[
        Path | None,
        typer.Option(help="Where --freeze-audio keeps MuQ's states, to share among runs."),
    ] = None,
    config: Annotated[
        str, typer.Option(help="Of what is new: large (as released), mini, or a JSON's path.")
    ] = "large",
    steps: Steps = 20_000,
    batch_size: Batch = 64,
    crop_seconds: CropSeconds = 10.0,
    shortest_seconds: Shortest = None,
    learning_rate: Rate = 1e-4,
    warmup_steps: Warmup = 500,
    ema: Ema = None,
    seed: Seed = 0,
    bf16: Bf16 = False,
    save_every_steps: Save = 500,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    workers: Workers = 2,
    as_json: Json = False,
) -> None:
    """Train a MuQ-MuLan: music and the texts that describe it."""
    require_extra()
    from ...reference.checkpoint import load_checkpoint
    from ...reference.mulan.checkpoint import load_mulan
    from ...training.data.captioned import read_captioned
    from ...training.loop.devices import Hardware
    from ...training.loop.plan import TrainingPlan
    from ...training.mulan.pipeline import Towers, train_mulan
    from ...training.pretrain.pipeline import Job

    plan = TrainingPlan(
        steps=steps,
        batch_size=batch_size,
        crop_seconds=crop_seconds,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        ema_decay=ema,
        seed=seed,
        precision="bf16-mixed" if bf16 else "32-true",
        save_every_steps=save_every_steps,
    )
    towers = Towers(
        muq=load_checkpoint(muq),
        level=level,
        shape=_shape(config),
        text=None if text is None else load_mulan(text),
        freeze_audio=freeze_audio,
        freeze_text=freeze_text,
    )
    captioned = read_captioned(corpus, shortest_seconds or crop_seconds)
    hardware = Hardware(accelerator, devices, nodes, workers)
    job = Job(captioned.corpus, output, plan, hardware)
    train_mulan(job, captioned, towers, states).show(as_json)


def _shape(config: str) -> "Shape":
    from ...reference.mulan.config import read_config_as
    from ...training.mulan.trainee import SHAPES, Shape

    return SHAPES[config] if config in SHAPES else read_config_as(Shape, Path(config))
