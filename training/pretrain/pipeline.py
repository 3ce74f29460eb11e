"""The trainings of the paper, each from music on disk to a checkpoint."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ...common.files import sha256
from ...errors import UsageError
from ...reference.checkpoint import save_checkpoint
from ...reference.config import MuQConfig
from ...reference.mel import LogMel
from ...reference.muq import RVQ_CODES, MuQ
from ...reference.rvq_file import RvqConfig, load_rvq, save_rvq
from ..data.corpus import Corpus
from ..data.crops import Batch, batch_of
from ..loop.devices import Hardware, launched
from ..loop.plan import TrainingPlan
from ..loop.report import TrainingReport
from ..loop.run import SKIPPED_FILE, Run, State
from ..loop.train import train, validate
from .rvq import RvqFit, StackedMel, initial_rvq, stage_figures, statistics
from .trainee import MaskedPrediction, initial_muq

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_FOLDER = "checkpoint"
RVQ_FOLDER = "rvq"
_MEASURED_BATCHES = 16  # for statistics, and for what is reported at the end


@dataclass(frozen=True)
class Job:
    """What every training needs.

    Attributes:
        corpus: the music.
        folder: the run's; the same job there goes on where it was interrupted.
        plan: how long, how fast, from which seed.
        hardware: where.
    """

    corpus: Corpus
    folder: Path
    plan: TrainingPlan
    hardware: Hardware

    def run(self, what: str, config: MuQConfig, **more: Any) -> Run:
        """The run's folder; everything that decides the weights must be as it was.

        Raises:
            UsageError: the folder is of another run.
        """
        settings = {"what": what, "corpus": self.corpus.digest, **self.plan.settings(), **more}
        settings |= {"processes": self.hardware.processes, "config": asdict(config)}
        return Run(self.folder, settings)


def train_rvq(job: Job, config: MuQConfig) -> TrainingReport:
    """Fit the Mel-RVQ of such a MuQ; ``folder/rvq`` gets it, with the corpus's mel statistics.

    Raises:
        UsageError: the folder is of another run. AudioError: the music cannot be used.
    """
    run = job.run("rvq", config)
    fabric = launched(job.plan, job.hardware)
    crops = job.corpus.crops(job.plan.crop_seconds, job.plan.seed)
    in_decibel = LogMel(config.hop_length, config.n_mels, 0.0, 1.0)
    mean, std = statistics(
        StackedMel(in_decibel, config.frames_per_step), sample(crops, job.plan.batch_size)
    )
    shape = RvqConfig(
        width=config.n_mels * config.frames_per_step,
        mean=mean,
        std=std,
        stages=config.rvq_n_codebooks,
        layers=config.rvq_multi_layer_num,
    )
    normalised = LogMel(config.hop_length, config.n_mels, mean, std)
    return fit_rvq(job, run, fabric, crops, StackedMel(normalised, config.frames_per_step), shape)


def pretrain(job: Job, config: MuQConfig, rvq: Path) -> TrainingReport:
    """Pre-train a MuQ; ``folder/checkpoint`` gets it.

    Args:
        job: music, plan, hardware.
        config: of the model; its mel statistics become the RVQ's.
        rvq: a fitted Mel-RVQ; with random-projection targets only its statistics are used.

    Raises:
        UsageError: the folder is of another run, or the RVQ is not for this model.
    """
    tokenizer, shape = load_rvq(rvq)
    if config.use_rvq_target:
        _check_fits(shape, config)
    statistics = {"melspec_2048_mean": shape.mean, "melspec_2048_std": shape.std}
    config = dataclasses.replace(config, stat=statistics)
    run = job.run("pretrain", config, rvq=sha256(rvq / "rvq.safetensors"))
    fabric = launched(job.plan, job.hardware)
    muq = initial_muq(config, tokenizer if config.use_rvq_target else None, job.plan.seed)
    crops = job.corpus.crops(job.plan.crop_seconds, job.plan.seed)
    return train_muq(job, run, fabric, muq, crops, job.corpus.valid_crops(job.plan.crop_seconds))


def fit_rvq(
    job: Job,
    run: Run,
    fabric: "Fabric",
    crops: Dataset[Batch],
    source: nn.Module,
    shape: RvqConfig,
) -> TrainingReport:
    """Fit an RVQ to what ``source`` makes of the crops, and measure it on held-out ones."""
    trainee = RvqFit(initial_rvq(shape, job.plan.seed), source)
    state = train(trainee, crops, job.plan, run, fabric, job.hardware.workers)
    held_out = sample(job.corpus.valid_crops(job.plan.crop_seconds), job.plan.batch_size)
    with torch.no_grad():
        measured = torch.cat([trainee.source(each.to(fabric.device)) for each in held_out])
    figures = {
        "input": float(measured.abs().mean()),
        "frames": measured.shape[0] * measured.shape[2],
        "stages": stage_figures(trainee.rvq, measured),
    }
    output = run.folder / RVQ_FOLDER
    if fabric.is_global_zero:
        save_rvq(trainee.rvq, dataclasses.replace(shape, figures=figures), output)
    fabric.barrier()
    return reported(output, state, figures, job, run)


def train_muq(
    job: Job,
    run: Run,
    fabric: "Fabric",
    muq: MuQ,
    crops: Dataset[Batch],
    valid: Dataset[Batch],
) -> TrainingReport:
    """Train a MuQ on masked crops, and measure it on held-out ones."""
    trainee = MaskedPrediction(muq, _shards(job, fabric, muq.config))
    state = train(trainee, crops, job.plan, run, fabric, job.hardware.workers)
    figures = validate(trainee, valid, _MEASURED_BATCHES, job.plan.batch_size)
    output = run.folder / CHECKPOINT_FOLDER
    if fabric.is_global_zero:
        save_checkpoint(muq, output)
    fabric.barrier()
    return reported(output, state, figures, job, run)


def _shards(job: Job, fabric: "Fabric", config: MuQConfig) -> int:
    """Threads that each take a share of a batch; PyTorch's own keep to one core then."""
    shape = config.conformer
    random = (
        shape.hidden_dropout,
        shape.activation_dropout,
        shape.attention_dropout,
        shape.conformer_conv_dropout,
        shape.layerdrop,
    )
    threads = min(torch.get_num_threads(), job.plan.batch_size)
    if fabric.device.type != "cpu" or fabric.world_size > 1 or any(random) or threads == 1:
        return 1
    torch.set_num_threads(1)
    return threads


def sample(crops: Dataset[Batch], batch_size: int) -> list[torch.Tensor]:
    """A few batches of waveforms, (batch, samples) each, always the same."""
    return [batch_of(crops, index, batch_size).inputs[0] for index in range(_MEASURED_BATCHES)]


def reported(
    output: Path, state: State, figures: Mapping[str, Any], job: Job, run: Run
) -> TrainingReport:
    """How a job's training ended, with what its corpus could not use."""
    run.skip(job.corpus.skipped)
    return TrainingReport(
        output=output,
        steps=state.step,
        seconds=state.seconds,
        first=state.history[0],
        last=state.history[-1],
        valid=figures,
        skipped=len(run.skipped()),
        skipped_list=run.folder / SKIPPED_FILE,
        pieces=state.pieces,
    )


def _check_fits(shape: RvqConfig, config: MuQConfig) -> None:
    wanted = {
        "width": config.n_mels * config.frames_per_step,
        "stages": config.rvq_n_codebooks,
        "codes": RVQ_CODES,
        "layers": config.rvq_multi_layer_num,
        "level": None,
    }
    for name, value in wanted.items():
        if getattr(shape, name) != value:
            raise UsageError(
                f"the RVQ's {name} is {getattr(shape, name)}, this model's is {value}. Fit one "
                "with the same --size."
            )
