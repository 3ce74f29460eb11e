"""What the training commands are told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from annotated_types import Ge, Le

if TYPE_CHECKING:
    from ...reference.config import MuQConfig
    from ...training.data.corpus import Corpus
    from ...training.loop.devices import Hardware
    from ...training.loop.plan import Precision, TrainingPlan
    from ...training.pretrain.pipeline import Job

# These stand in several dataclasses, each with a default of its own.
Steps: TypeAlias = Annotated[int, Ge(1), typer.Option(help="Optimizer steps.")]
BatchSize: TypeAlias = Annotated[
    int, Ge(1), typer.Option(help="Crops in a step, over all processes.")
]
CropSeconds: TypeAlias = Annotated[float, Ge(0.4), Le(600), typer.Option(help="Length of a crop.")]
LearningRate: TypeAlias = Annotated[float, typer.Option(help="Peak learning rate.")]
WarmupSteps: TypeAlias = Annotated[
    int, Ge(0), typer.Option(help="Steps until the peak learning rate.")
]
Level: TypeAlias = Annotated[int, Ge(0), typer.Option(help="Hidden state of MuQ to quantize.")]
Seed: TypeAlias = Annotated[int, Ge(0), typer.Option(help="Random seed.")]
Bf16: TypeAlias = Annotated[
    bool, typer.Option("--bf16", help="Autocast to bfloat16; the mel stays float32.")
]
Accelerator: TypeAlias = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Checkpoint: TypeAlias = Annotated[
    str, typer.Option(help="Trained MuQ: a folder, a file or a hub id.")
]
Size: TypeAlias = Annotated[
    str, typer.Option(help="Model to train: large, small, mini, tiny, or a config.json's path.")
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every training is told; the defaults are those of Mel-RVQ."""

    corpus: Annotated[Path, typer.Argument(help="A folder of audio, or a JSONL manifest.")]
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder of the run. The same command resumes it there."
        ),
    ]
    steps: Steps = 3000
    batch_size: BatchSize = 32
    crop_seconds: CropSeconds = 5.0
    shortest_seconds: Annotated[
        float | None,
        Ge(0.4),
        typer.Option(
            help="Skip tracks shorter than this, a crop by default; repeat those shorter than a "
            "crop."
        ),
    ] = None
    learning_rate: LearningRate = 1e-3
    warmup_steps: WarmupSteps = 100
    seed: Seed = 0
    save_every_steps: Annotated[
        int, Ge(1), typer.Option(help="Steps between two saved states.")
    ] = 500
    until_step: Annotated[
        int | None,
        Ge(1),
        typer.Option(help="Save and end after this step; the same command goes on from there."),
    ] = None
    accelerator: Accelerator = "auto"
    devices: Annotated[
        int, Ge(1), typer.Option(help="Processes on each machine, one GPU each.")
    ] = 1
    nodes: Annotated[int, Ge(1), typer.Option(help="Machines.")] = 1
    workers: Annotated[
        int, Ge(0), typer.Option(help="Processes that read audio, for each training process.")
    ] = 2
    threads: Annotated[
        int | None,
        Ge(1),
        typer.Option(help="CPU threads of each training process; all cores by default."),
    ] = None

    def plan(self) -> "TrainingPlan":
        """How long, how fast and from which seed."""
        from ...training.loop.plan import TrainingPlan

        return TrainingPlan(
            steps=self.steps,
            batch_size=self.batch_size,
            crop_seconds=self.crop_seconds,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            seed=self.seed,
            save_every_steps=self.save_every_steps,
            until_step=self.until_step,
        )

    def hardware(self) -> "Hardware":
        """Where it runs."""
        from ...training.loop.devices import Hardware

        return Hardware(self.accelerator, self.devices, self.nodes, self.workers, self.threads)

    def least_seconds(self) -> float:
        """Length of the shortest track that is used."""
        return self.shortest_seconds or self.crop_seconds

    def job(self, corpus: "Corpus | None" = None) -> "Job":
        """The whole job, on the corpus read from disk or on one that has been read already."""
        from ...training.data.corpus import read_corpus
        from ...training.pretrain.pipeline import Job

        found = corpus or read_corpus(self.corpus, self.least_seconds())
        return Job(found, self.output, self.plan(), self.hardware())


@dataclass(frozen=True, kw_only=True)
class ModelOptions(TrainingOptions):
    """What the training of a model is told too; the defaults are those of pre-training."""

    steps: Steps = 100_000
    batch_size: BatchSize = 16
    crop_seconds: CropSeconds = 30.0
    learning_rate: LearningRate = 5e-4
    warmup_steps: WarmupSteps = 1000
    ema: Annotated[
        float | None, typer.Option(help="Average the weights with this decay, such as 0.999.")
    ] = None
    bf16: Bf16 = False

    def plan(self) -> "TrainingPlan":
        """How long, how fast, from which seed and how precisely."""
        return replace(super().plan(), ema_decay=self.ema, precision=precision(self.bf16))


def precision(bf16: bool) -> "Precision":
    """What ``--bf16`` stands for."""
    return "bf16-mixed" if bf16 else "32-true"


def muq_config(size: str) -> "MuQConfig":
    """The configuration called ``size``, or the one in the file of that path."""
    from ...reference.config import read_config
    from ...reference.random_model import CONFIGS

    return CONFIGS[size] if size in CONFIGS else read_config(Path(size))
