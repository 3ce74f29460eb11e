"""``muqrt train``: the paper's trainings, one command each."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, show
from ...errors import UsageError
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
    Size,
    Steps,
    Warmup,
    Workers,
    require_extra,
)

if TYPE_CHECKING:
    from ...reference.config import MuQConfig
    from ...training.data.corpus import Corpus as ReadCorpus

commands = typer.Typer()


@commands.command()
def rvq(
    corpus: Corpus,
    output: Output,
    steps: Steps = 3000,
    batch_size: Batch = 32,
    crop_seconds: CropSeconds = 5.0,
    shortest_seconds: Shortest = None,
    learning_rate: Rate = 1e-3,
    warmup_steps: Warmup = 100,
    seed: Seed = 0,
    config: Size = "large",
    save_every_steps: Save = 500,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    workers: Workers = 2,
    as_json: Json = False,
) -> None:
    """Fit Mel-RVQ, whose tokens MuQ is trained to predict."""
    require_extra()
    from ...training.loop.devices import Hardware
    from ...training.loop.plan import TrainingPlan
    from ...training.pretrain.pipeline import Job, train_rvq

    plan = TrainingPlan(
        steps=steps,
        batch_size=batch_size,
        crop_seconds=crop_seconds,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        weight_decay=0.0,
        seed=seed,
        save_every_steps=save_every_steps,
    )
    hardware = Hardware(accelerator, devices, nodes, workers)
    job = Job(_corpus(corpus, shortest_seconds or crop_seconds), output, plan, hardware)
    train_rvq(job, _config(config)).show(as_json)


@commands.command()
def pretrain(
    corpus: Corpus,
    output: Output,
    rvq: Annotated[Path, typer.Option(help="A fitted Mel-RVQ: RUN/rvq of muqrt train rvq.")],
    targets: Annotated[
        str, typer.Option(help="mel-rvq, or random-projection to compare with.")
    ] = "mel-rvq",
    steps: Steps = 100_000,
    batch_size: Batch = 16,
    crop_seconds: CropSeconds = 30.0,
    shortest_seconds: Shortest = None,
    learning_rate: Rate = 5e-4,
    warmup_steps: Warmup = 1000,
    ema: Ema = None,
    seed: Seed = 0,
    config: Size = "large",
    bf16: Bf16 = False,
    save_every_steps: Save = 500,
    accelerator: Accelerator = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    workers: Workers = 2,
    as_json: Json = False,
) -> None:
    """Pre-train a MuQ by masked prediction."""
    require_extra()
    from ...training.loop.devices import Hardware
    from ...training.loop.plan import TrainingPlan
    from ...training.pretrain.pipeline import Job
    from ...training.pretrain.pipeline import pretrain as run

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
    hardware = Hardware(accelerator, devices, nodes, workers)
    model = _with_targets(_config(config), targets)
    job = Job(_corpus(corpus, shortest_seconds or crop_seconds), output, plan, hardware)
    run(job, model, rvq).show(as_json)


@commands.command()
def iterate(
    corpus: Corpus,
    output: Output,
    checkpoint: Annotated[str, typer.Option(help="The trained MuQ: a folder, file or hub id.")],
    level: Annotated[int, typer.Option(min=0, help="Which of its hidden states is quantized.")],
    rvq_steps: Annotated[int, typer.Option(min=1, help="To fit the quantizer.")] = 3000,
    steps: Steps = 100_000,
    batch_size: Batch = 16,
    crop_seconds: CropSeconds = 30.0,
    shortest_seconds: Shortest = None,
    learning_rate: Rate = 5e-4,
    warmup_steps: Warmup = 1000,
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
    """Train a MuQ again, on the tokens of a trained one's latent level."""
    require_extra()
    from ...reference.checkpoint import load_checkpoint
    from ...training.loop.devices import Hardware
    from ...training.loop.plan import TrainingPlan
    from ...training.pretrain.iterate import iterate as run
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
    rvq_plan = TrainingPlan(
        steps=rvq_steps,
        batch_size=batch_size,
        crop_seconds=crop_seconds,
        learning_rate=1e-3,
        weight_decay=0.0,
        seed=seed,
        save_every_steps=save_every_steps,
    )
    hardware = Hardware(accelerator, devices, nodes, workers)
    teacher = load_checkpoint(checkpoint)
    job = Job(_corpus(corpus, shortest_seconds or crop_seconds), output, plan, hardware)
    run(job, rvq_plan, teacher, level).show(as_json)


@commands.command()
def compact(
    checkpoint: Annotated[str, typer.Argument(help="A folder, file or hub id.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The smaller checkpoint's folder.")
    ],
    as_json: Json = False,
) -> None:
    """Store a MuQ or a MuQ-MuLan in half the space, as float16.

    Train probes after this: weights are rounded, and a head belongs to exactly one checkpoint.
    """
    require_extra()
    from ...reference.checkpoint import WEIGHTS_FILE, load_checkpoint, save_checkpoint
    from ...reference.mulan.checkpoint import is_mulan, load_mulan, save_mulan

    if is_mulan(checkpoint):
        mulan = load_mulan(checkpoint)
        parameters = mulan.parameters
        save_mulan(mulan.model, output, mulan.tokenizer, half=True)
    else:
        loaded = load_checkpoint(checkpoint)
        parameters = loaded.parameters
        save_checkpoint(loaded.model, output, half=True)
    size_bytes = (output / WEIGHTS_FILE).stat().st_size
    facts = {"checkpoint": str(output), "parameters": parameters, "bytes": size_bytes}
    line = f"{output}: {parameters / 1e6:.1f}M weights in {size_bytes / 1e6:.1f} MB"
    show(as_json, facts, line)


def _corpus(source: Path, least_seconds: float) -> "ReadCorpus":
    from ...training.data.corpus import read_corpus

    return read_corpus(source, least_seconds)


def _config(size: str) -> "MuQConfig":
    from ...reference.config import read_config
    from ...reference.random_model import CONFIGS

    return CONFIGS[size] if size in CONFIGS else read_config(Path(size))


def _with_targets(config: "MuQConfig", targets: str) -> "MuQConfig":
    if targets not in ("mel-rvq", "random-projection"):
        raise UsageError(f"targets {targets!r}: choose mel-rvq or random-projection.")
    return dataclasses.replace(config, use_rvq_target=targets == "mel-rvq")
