"""From captioned music and a trained MuQ to a MuQ-MuLan's checkpoint."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...common.files import atomic_file
from ...common.words import WORDS_FILE, LearnedWords
from ...errors import UsageError
from ...reference.checkpoint import Checkpoint
from ...reference.config import SAMPLE_RATE_HZ
from ...reference.mulan.checkpoint import TOKENIZER_FILE, MuLanCheckpoint, save_mulan
from ...reference.mulan.tokenizer import fit_tokenizer
from ..data.caption_tokens import CaptionTokenizer
from ..data.captioned import CaptionedCorpus, CaptionedCrops, ReadAudio, Waveforms
from ..data.labels import store_each
from ..data.states import Listener, StoredStates
from ..loop.devices import launched
from ..loop.report import TrainingReport
from ..loop.run import Run
from ..loop.train import train, validate
from ..pretrain.pipeline import CHECKPOINT_FOLDER, Job, reported
from .trainee import Contrastive, Shape, initial_mulan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STATES_FOLDER = "states"


@dataclass(frozen=True)
class Towers:
    """What a MuQ-MuLan is made of.

    Attributes:
        muq: the encoder of the audio tower.
        shape: of what is new.
        level: the MuQ's hidden state below the tower; -1 is the deepest.
        text: whose text tower to start from, with its tokenizer; a new one when None.
        freeze_audio, freeze_text: leave that encoder as it is, and train what is above it.
    """

    muq: Checkpoint
    shape: Shape
    level: int = -1
    text: MuLanCheckpoint | None = None
    freeze_audio: bool = False
    freeze_text: bool = False

    def __post_init__(self) -> None:
        levels = self.muq.model.config.encoder_depth + 1
        if not -levels <= self.level < levels:
            raise UsageError(f"level {self.level}: {self.muq.name} has levels 0 to {levels - 1}.")
        if self.text is None and self.freeze_text:
            raise UsageError("--freeze-text needs a trained text encoder: give --text too.")
        if self.text is not None and self.text.tokenizer is None:
            encoder = self.text.model.config.text_model.name
            raise UsageError(
                f"{self.text.name}: no {TOKENIZER_FILE}. Put that of {encoder} into "
                f"{Path(self.text.name) / encoder}."
            )

    def facts(self) -> dict[str, object]:
        """The settings that decide the weights."""
        return {
            "muq": self.muq.sha256,
            "level": self.level,
            "shape": dataclasses.asdict(self.shape),
            "text": None if self.text is None else self.text.sha256,
            "freeze_audio": self.freeze_audio,
            "freeze_text": self.freeze_text,
        }


def train_mulan(
    job: Job, captioned: CaptionedCorpus, towers: Towers, states: Path | None = None
) -> TrainingReport:
    """Train a MuQ-MuLan; ``folder/checkpoint`` gets it, with its tokenizer and the
    words that it learned.

    Args:
        job: the corpus of ``captioned``, plan, hardware.
        captioned: songs and what describes them.
        towers: what it is made of.
        states: where a frozen MuQ's states of all clips are kept; the run's folder when None. Runs
            of one MuQ, one level and one length may share it.

    Raises:
        UsageError: the folder is of another run, or there are fewer songs than pairs in a batch.
        CheckpointError: a tokenizer that is not the text encoder's, or a damaged list of words.
    """
    # Data loaders start processes, which the library would warn of.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if job.plan.batch_size < 2:
        raise UsageError("--batch-size 1: contrastive training needs two pairs or more.")
    run = job.run("mulan", towers.muq.model.config, captions=captioned.digest, **towers.facts())
    fabric = launched(job.plan, job.hardware)
    path, tokenizer = _tokenizer(run, captioned, towers, fabric, job.plan.seed)
    words = _words(run, captioned, towers, job.plan.seed) if fabric.is_global_zero else None
    read_audio = _audio_reader(job, run, fabric, towers, states)
    size = job.plan.batch_size
    crops = CaptionedCrops(captioned.train, size, job.plan.seed, tokenizer, read_audio)
    held_out = min(size, len(captioned.valid))
    valid = CaptionedCrops(captioned.valid, held_out, 0, tokenizer, read_audio)
    mulan = initial_mulan(
        towers.shape,
        towers.muq.model,
        towers.level,
        None if towers.text is None else towers.text.model,
        tokenizer.vocabulary,
        job.plan.seed,
    )
    trainee = Contrastive(mulan, towers.freeze_audio, towers.freeze_text, _all_gather(fabric))
    state = train(trainee, crops, job.plan, run, fabric, job.hardware.workers)
    alone = Contrastive(mulan, towers.freeze_audio, towers.freeze_text)
    figures = validate(alone, valid, max(1, len(captioned.valid) // held_out), held_out)
    output = run.folder / CHECKPOINT_FOLDER
    if fabric.is_global_zero:
        save_mulan(mulan, output, path, words=words)
    fabric.barrier()
    return reported(output, state, figures, job, run)


def _tokenizer(
    run: Run, captioned: CaptionedCorpus, towers: Towers, fabric: "Fabric", seed: int
) -> tuple[Path, CaptionTokenizer]:
    """The text checkpoint's, or one that this run has fitted, once."""
    if towers.text is not None:
        assert towers.text.tokenizer is not None
        known = towers.text.model.mulan.text.model.config.vocab_size
        return towers.text.tokenizer, CaptionTokenizer(towers.text.tokenizer, known)
    path = run.folder / TOKENIZER_FILE
    if fabric.is_global_zero and not path.is_file():
        with atomic_file(path) as temporary:
            fit_tokenizer(captioned.fitting_texts(seed), towers.shape.vocabulary, temporary)
    fabric.barrier()
    return path, CaptionTokenizer(path)


def _words(run: Run, captioned: CaptionedCorpus, towers: Towers, seed: int) -> Path | None:
    """The file of the captions' words and of those that the text checkpoint says it learned; None
    where that one does not say."""
    earlier = LearnedWords(frozenset())
    if towers.text is not None:
        if towers.text.words is None:
            return None
        earlier = LearnedWords.read(towers.text.words)
    learned = LearnedWords.of(captioned.fitting_texts(seed))
    path = run.folder / WORDS_FILE
    with atomic_file(path) as temporary:
        LearnedWords(earlier.units | learned.units).write(temporary)
    return path


def _audio_reader(
    job: Job, run: Run, fabric: "Fabric", towers: Towers, states: Path | None
) -> ReadAudio:
    """Waveforms; of a frozen MuQ its states, in whose computation the processes share."""
    samples = round(job.plan.crop_seconds * SAMPLE_RATE_HZ)
    if not towers.freeze_audio:
        return Waveforms(samples)
    name = f"{towers.muq.sha256[:16]}-{towers.level}-{samples}-{job.plan.precision}"
    folder = (states or run.folder / STATES_FOLDER) / name
    tracks = list(dict.fromkeys([*job.corpus.train, *job.corpus.valid]))
    muq = towers.muq.model.to(fabric.device)
    listener = Listener(muq, towers.level, samples, fabric.autocast)
    share = tracks[fabric.global_rank :: fabric.world_size]
    run.skip(store_each("Encoding", share, folder, listener.states))
    fabric.barrier()
    return StoredStates(folder)


def _all_gather(fabric: "Fabric") -> Callable[[Tensor], Tensor] | None:
    if fabric.world_size == 1:
        return None

    def gather(own: Tensor) -> Tensor:
        every = fabric.all_gather(own, sync_grads=True)
        assert isinstance(every, Tensor)
        return every.flatten(0, 1)

    return gather
