"""A step of pre-training on a CPU, by turns: as the paper says it, and as muqrt trains."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ParityError
from ..reference.config import SAMPLE_RATE_HZ, MuQConfig
from ..reference.rvq import stacked
from ..training.loop.train import decay_groups
from ..training.pretrain.trainee import MaskedPrediction, initial_muq, mask
from .measure.neighbours import watch_neighbours
from .measure.report import Report, Section
from .measure.timing import EAGER, Run, Timing, by_turns, compare, spread

OURS = "muqrt train pretrain"
ONE_THREAD = f"{OURS}, one thread"
_BUDGET_SECONDS = 150.0
# Of the losses of the first steps, which start from the same weights.
_TOLERANCES = {False: 1e-4, True: 1e-2}
_CHECKED_STEPS = 3
_LEARNING_RATE = 1e-4
_COLUMNS = (
    "contender",
    "median, ms",
    "p10 to p90, ms",
    "times eager",
    "crops an hour",
    "processor, ms",
    "crops a processor hour",
)


@dataclass(frozen=True)
class Step:
    """What is measured.

    Attributes:
        config: the model's.
        batch_size: crops in a step.
        crop_seconds: of each.
        bf16: under autocast.
        threads: CPU threads of each contender.
    """

    config: MuQConfig
    batch_size: int
    crop_seconds: float
    bf16: bool
    threads: int


@dataclass(frozen=True, kw_only=True)
class StepTime(Timing):
    """One contender.

    Attributes:
        processor_seconds: the median over its steps, of all threads together.
        losses: of its first steps.
    """

    processor_seconds: float
    losses: list[float]

    def row(self, batch_size: int) -> list[str]:
        """Its cells in the table."""
        return [
            self.contender,
            *self.cells(scale=1000),
            f"{batch_size * 3600 / self.median_seconds:,.0f}",
            f"{self.processor_seconds * 1000:.3g}",
            f"{batch_size * 3600 / self.processor_seconds:,.0f}",
        ]


@dataclass(frozen=True, kw_only=True)
class TrainingSpeedReport(Report):
    """One run of ``muqrt bench training``.

    Attributes:
        batch_size, crop_seconds, bf16, threads: as asked for.
        neighbours_share: of the cores' time, taken by other programs meanwhile, 0 to 1.
        times: every contender's.
    """

    batch_size: int
    crop_seconds: float
    bf16: bool
    threads: int
    neighbours_share: float
    times: list[StepTime]

    def results(self) -> list[Section]:
        """One table: a row for each contender."""
        precision = "bf16" if self.bf16 else "fp32"
        title = (
            f"A step of {self.batch_size} crops of {self.crop_seconds:g} s in {precision} on "
            f"{self.environment['cpu']}, threads: {self.threads}"
        )
        note = (
            "Forward, backward, clipping and AdamW, by turns in one process after a first step "
            "each. The contenders start from the same weights, and the losses of the first "
            f"{_CHECKED_STEPS} steps were compared. *{EAGER}* computes two whole log-mels and all "
            "tokens, on PyTorch's threads. Its processor time includes what they spin away."
        )
        return [Section(title, _COLUMNS, [e.row(self.batch_size) for e in self.times], note)]

    def remarks(self) -> list[str]:
        """How busy the machine was."""
        return [f"Other programs took {self.neighbours_share:.0%} of the cores' time meanwhile."]


def run(step: Step, rounds: int) -> TrainingSpeedReport:
    """Measure.

    Args:
        step: what.
        rounds: how many steps of each contender are timed.

    Raises:
        ParityError: the losses of a contender are not the others'.
    """
    share = watch_neighbours()
    contenders = {
        EAGER: _Contender(step, as_the_paper_says, 1, step.threads),
        ONE_THREAD: _Contender(step, _loss, 1, 1),
        OURS: _Contender(step, _loss, step.threads, 1),
    }
    for each in contenders.values():
        for _ in range(_CHECKED_STEPS):
            each()
    expected = contenders[EAGER].losses[:_CHECKED_STEPS]
    for name, each in contenders.items():
        _check(name, each.losses[:_CHECKED_STEPS], expected, _TOLERANCES[step.bf16])
        each.processor_seconds.clear()
    runs: dict[str, Run] = {**contenders}
    samples = by_turns(runs, rounds, _BUDGET_SECONDS)
    times = [
        StepTime(
            **vars(timing),
            processor_seconds=spread(contenders[timing.contender].processor_seconds).median,
            losses=contenders[timing.contender].losses[:_CHECKED_STEPS],
        )
        for timing in compare(samples)
    ]
    return TrainingSpeedReport(
        batch_size=step.batch_size,
        crop_seconds=step.crop_seconds,
        bf16=step.bf16,
        threads=step.threads,
        neighbours_share=share(),
        times=times,
    )


def as_the_paper_says(trainee: MaskedPrediction, waveform: Tensor) -> Tensor:
    """The loss by two whole log-mels and all tokens, on one batch: what a trainee's must equal."""
    model, config = trainee.muq.model, trainee.muq.config
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        clean = stacked(model.preprocessor_melspec_2048(waveform), config.frames_per_step)
        tokens = trainee.tokenize(clean)
        masked, is_masked = mask(waveform, config)
        log_mel = model.preprocessor_melspec_2048(masked)
    hidden = model.conformer(model.conv(log_mel))[-1][is_masked]
    targets = tokens.transpose(1, 2)[is_masked]
    logits = model.linear(hidden).float().unflatten(-1, (targets.shape[1], -1))
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    if config.recon_loss_ratio:
        rebuilt = model.recon_proj(hidden)
        wanted = clean.transpose(1, 2)[is_masked]
        loss = loss + config.recon_loss_ratio * F.mse_loss(rebuilt, wanted)
    return loss


def _loss(trainee: MaskedPrediction, waveform: Tensor) -> Tensor:
    loss: Tensor = trainee(waveform)[0]
    return loss


class _Contender:
    """One way to train: each call is the next step."""

    def __init__(
        self,
        step: Step,
        loss_of: Callable[[MaskedPrediction, Tensor], Tensor],
        shards: int,
        threads: int,
    ) -> None:
        self._step, self._loss_of, self._threads = step, loss_of, threads
        self._trainee = MaskedPrediction(initial_muq(step.config, None, 0), shards).train()
        groups = decay_groups(self._trainee, 0.01)
        fused = loss_of is not as_the_paper_says
        self._optimizer = torch.optim.AdamW(groups, _LEARNING_RATE, fused=fused)
        self.losses: list[float] = []
        self.processor_seconds: list[float] = []

    def __call__(self) -> None:
        torch.set_num_threads(self._threads)
        torch.manual_seed(len(self.losses))
        samples = round(self._step.crop_seconds * SAMPLE_RATE_HZ)
        waveform = torch.randn(self._step.batch_size, samples) * 0.1
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._step.bf16):
            loss = self._loss_of(self._trainee, waveform)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trainee.parameters(), 1.0)
        self._optimizer.step()
        self.processor_seconds.append(time.process_time() - began)
        self.losses.append(loss.item())


def _check(name: str, losses: list[float], expected: list[float], tolerance: float) -> None:
    for step, (ours, theirs) in enumerate(zip(losses, expected, strict=True)):
        if not abs(ours - theirs) <= tolerance * theirs:
            raise ParityError(
                f"{name}: the loss of step {step} is {ours:.6f}, not {theirs:.6f}, so its speed is "
                "not reported."
            )
