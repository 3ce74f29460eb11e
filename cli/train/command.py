"""``muqrt train rvq``, ``pretrain``, ``iterate`` and ``compact``."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from annotated_types import Ge

from ...common.console import Json, show
from ...common.environment import import_extra
from ...errors import UsageError
from ..ending import at_its_own_pace
from ..parameters import configured
from .options import (
    Checkpoint,
    Level,
    ModelOptions,
    Size,
    TrainingOptions,
    muq_config,
)

if TYPE_CHECKING:
    from ...training.loop.plan import TrainingPlan

commands = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class RvqOptions(TrainingOptions):
    """Options of ``muqrt train rvq``."""

    size: Size = "large"

    def plan(self) -> "TrainingPlan":
        """As every training's, without weight decay."""
        return dataclasses.replace(super().plan(), weight_decay=0.0)


@commands.command()
@configured(RvqOptions)
def rvq(options: RvqOptions, as_json: bool) -> None:
    """Fit Mel-RVQ, whose tokens MuQ is trained to predict."""
    import_extra("train", "lightning_fabric", "torch")
    from ...training.pretrain.pipeline import train_rvq

    with at_its_own_pace():  # a signal is for the training, which saves first
        train_rvq(options.job(), muq_config(options.size)).show(as_json)


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(ModelOptions):
    """Options of ``muqrt train pretrain``."""

    rvq: Annotated[Path, typer.Option(help="Fitted Mel-RVQ: RUN/rvq of muqrt train rvq.")]
    targets: Annotated[
        str, typer.Option(help="What to predict: mel-rvq, or random-projection to compare with.")
    ] = "mel-rvq"
    size: Size = "large"


@commands.command()
@configured(PretrainOptions)
def pretrain(options: PretrainOptions, as_json: bool) -> None:
    """Pre-train a MuQ by masked prediction."""
    import_extra("train", "lightning_fabric", "torch")
    from ...training.pretrain import pipeline

    if options.targets not in ("mel-rvq", "random-projection"):
        raise UsageError(f"targets {options.targets!r}: choose mel-rvq or random-projection.")
    config = dataclasses.replace(
        muq_config(options.size), use_rvq_target=options.targets == "mel-rvq"
    )
    with at_its_own_pace():
        pipeline.pretrain(options.job(), config, options.rvq).show(as_json)


@dataclass(frozen=True, kw_only=True)
class IterateOptions(ModelOptions):
    """Options of ``muqrt train iterate``."""

    checkpoint: Checkpoint
    level: Level
    rvq_steps: Annotated[int, Ge(1), typer.Option(help="Steps to fit the quantizer.")] = 3000

    def rvq_plan(self) -> "TrainingPlan":
        """How the quantizer is fitted: on the same crops, as ``muqrt train rvq`` does it."""
        shared = {
            name: getattr(self, name)
            for name in ("batch_size", "crop_seconds", "seed", "save_every_steps")
        }
        return RvqOptions(
            corpus=self.corpus, output=self.output, steps=self.rvq_steps, **shared
        ).plan()


@commands.command()
@configured(IterateOptions)
def iterate(options: IterateOptions, as_json: bool) -> None:
    """Train a MuQ again, on the tokens of a trained one's layer."""
    import_extra("train", "lightning_fabric", "torch")
    from ...reference.checkpoint import load_checkpoint
    from ...training.pretrain import iterate

    teacher, plan = load_checkpoint(options.checkpoint), options.rvq_plan()
    with at_its_own_pace():
        iterate.iterate(options.job(), plan, teacher, options.level).show(as_json)


@commands.command()
def compact(
    checkpoint: Annotated[str, typer.Argument(help="A folder, a file or a hub id.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the smaller checkpoint.")
    ],
    as_json: Json = False,
) -> None:
    """Store a checkpoint in half the space, as float16.

    Train probes after this: weights are rounded, and a head belongs to exactly one checkpoint.
    """
    import_extra("train", "lightning_fabric", "torch")
    from ...reference.checkpoint import WEIGHTS_FILE, load_checkpoint, save_checkpoint
    from ...reference.mulan.checkpoint import is_mulan, load_mulan, save_mulan

    if is_mulan(checkpoint):
        mulan = load_mulan(checkpoint)
        parameters = mulan.parameters
        save_mulan(mulan.model, output, mulan.tokenizer, half=True, words=mulan.words)
    else:
        loaded = load_checkpoint(checkpoint)
        parameters = loaded.parameters
        save_checkpoint(loaded.model, output, half=True)
    size_bytes = (output / WEIGHTS_FILE).stat().st_size
    facts = {"checkpoint": str(output), "parameters": parameters, "bytes": size_bytes}
    line = f"{output}: {parameters / 1e6:.1f}M weights in {size_bytes / 1e6:.1f} MB"
    show(as_json, facts, line)
