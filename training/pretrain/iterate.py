"""An iterative round: a new MuQ is pre-trained on a trained one's latents (paper section 3.3)."""

import dataclasses
from typing import TYPE_CHECKING, cast

from ...errors import AudioError, UsageError
from ...reference.checkpoint import Checkpoint
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.muq import RVQ_CODES
from ...reference.rvq import ResidualVectorQuantize
from ...reference.rvq_file import RvqConfig, load_rvq
from ..data.labels import TokenizedCrops, Tokenizer, label_file, store_each
from ..loop.devices import launched
from ..loop.plan import TrainingPlan
from ..loop.run import SKIPPED_FILE, Run
from .pipeline import RVQ_FOLDER, Job, TrainingReport, fit_rvq, sample, train_muq
from .rvq import Latent, statistics
from .trainee import initial_muq

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LABELS_FOLDER = "labels"
TOKENIZER_FOLDER = "tokenizer"


def iterate(job: Job, rvq_plan: TrainingPlan, teacher: Checkpoint, level: int) -> TrainingReport:
    """Fit an RVQ to a level of a trained MuQ, write its tokens for the whole corpus to disk, and
    pre-train a new MuQ of the same shape on them.

    The run's folder gets ``tokenizer`` (a run of its own), ``labels`` and ``checkpoint``.

    Args:
        job: music, the second pre-training's plan, hardware.
        rvq_plan: how the RVQ is fitted.
        teacher: the trained MuQ.
        level: which of its hidden states is quantized.

    Raises:
        UsageError: the folder is of another run, or the teacher has no such level.
    """
    config = teacher.model.config
    if not config.use_rvq_target:
        raise UsageError(
            f"{teacher.name}: an iterative round needs a MuQ that was trained with an RVQ."
        )
    if not 0 <= level <= config.encoder_depth:
        raise UsageError(f"level {level}: this model has levels 0 to {config.encoder_depth}.")
    what = {"teacher": teacher.sha256, "level": level}
    run = job.run("iterate", config, **what, rvq=rvq_plan.settings())
    fitting = dataclasses.replace(job, folder=job.folder / TOKENIZER_FOLDER, plan=rvq_plan)
    fitting_run = fitting.run("latent rvq", config, **what)
    fabric = launched(job.plan, job.hardware)

    muq = teacher.model.to(fabric.device)
    crops = job.corpus.crops(rvq_plan.crop_seconds, rvq_plan.seed)
    waveforms = [each.to(fabric.device) for each in sample(crops, rvq_plan.batch_size)]
    mean, std = statistics(Latent(muq, level), waveforms)
    latent = Latent(muq, level, mean, std)
    shape = RvqConfig(
        width=config.encoder_dim,
        mean=mean,
        std=std,
        stages=config.codebook_size // RVQ_CODES,
        level=level,
        model_sha256=teacher.sha256,
    )
    fit_rvq(fitting, fitting_run, fabric, crops, latent, shape)
    rvq, _ = load_rvq(fitting.folder / RVQ_FOLDER)
    tokenizer = Tokenizer(latent, rvq.to(fabric.device), config.step_samples)
    labelled, valid = _labelled(job, run, fabric, tokenizer)
    own = cast(ResidualVectorQuantize, muq.model.rvq)
    return train_muq(job, run, fabric, initial_muq(config, own, job.plan.seed), labelled, valid)


def _labelled(
    job: Job, run: Run, fabric: "Fabric", tokenizer: Tokenizer
) -> tuple[TokenizedCrops, TokenizedCrops]:
    """Training and validation crops with their tokens, in whose extraction the processes share."""
    folder = run.folder / LABELS_FOLDER
    tracks = list(dict.fromkeys([*job.corpus.train, *job.corpus.valid]))
    share = tracks[fabric.global_rank :: fabric.world_size]
    run.skip(store_each("Extracting labels", share, folder, tokenizer.tokens_of))
    fabric.barrier()
    step = tokenizer.step_samples
    samples = round(job.plan.crop_seconds * SAMPLE_RATE_HZ / step) * step
    crops = []
    for tracks, seed in ((job.corpus.train, job.plan.seed), (job.corpus.valid, 0)):
        usable = [
            track
            for track in tracks
            if track.seconds >= job.plan.crop_seconds and label_file(folder, track).is_file()
        ]
        if not usable:
            raise AudioError(f"no track could be labelled: see {run.folder / SKIPPED_FILE}")
        crops.append(TokenizedCrops(usable, samples, seed, folder, step))
    return crops[0], crops[1]
