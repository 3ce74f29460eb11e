"""The training loop: resumable at any step, the same weights whenever it was interrupted."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ...common.console import progress
from ...errors import AudioError, CheckpointError, TrainingPausedError
from ..data.crops import Batch, batch_of, joined
from .piece import Waiting, piece, stop_signals
from .plan import TrainingPlan
from .run import LOG_FOLDER, Run, State

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.utils.tensorboard import SummaryWriter

LOG_EVERY_STEPS = 10
_BETAS = (0.9, 0.98)


class Trainee(nn.Module):
    """What the loop trains. ``forward`` takes a batch's inputs and returns the loss, and figures
    to log beside it, all scalars."""

    @property
    def threads(self) -> int:
        """How many CPU threads divide the work, which decides how sums are rounded."""
        return torch.get_num_threads()

    @property
    def weights(self) -> nn.Module:
        """What a saved state holds: everything that training changes."""
        return self

    def after_step(self, fabric: "Fabric") -> None:
        """Called after each optimizer step, on every process; does nothing here."""


class _Steps:
    """The dataset's indices for each step of this process, from ``first_step`` on."""

    def __init__(self, plan: TrainingPlan, fabric: "Fabric", first_step: int) -> None:
        self._share = plan.batch_size // fabric.world_size
        self._offset = fabric.global_rank * self._share
        self._plan = plan
        self._steps = range(first_step, plan.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            first = step * self._plan.batch_size + self._offset
            yield list(range(first, first + self._share))

    def __len__(self) -> int:
        return len(self._steps)


def train(
    trainee: Trainee,
    dataset: Dataset[Batch],
    plan: TrainingPlan,
    run: Run,
    fabric: "Fabric",
    workers: int = 2,
) -> State:
    """Train in place, from the run's newest state to the plan's last step.

    Batches, dropout and masks of a step follow from the plan's seed and the step's number alone.

    Args:
        trainee: parameters that do not require a gradient are left alone.
        dataset: item i is the i-th crop of an endless sequence, as a batch of one.
        plan: its settings.
        run: where states go.
        fabric: launched; devices and precision are its.
        workers: processes that read crops ahead, for each training process.

    Returns:
        The last state; its history has a row every ``LOG_EVERY_STEPS`` steps.

    Raises:
        AudioError: draw after draw of the dataset could not be used.
        CheckpointError: the loss is not finite.
        TrainingPausedError: it ended before the plan's last step, by ``until_step`` or a signal;
            what was done is saved.
    """
    with run.lock() if fabric.is_global_zero else nullcontext():
        fabric.barrier()  # all read the same state, which is the last of who trained here before
        return _train(trainee, dataset, plan, run, fabric, workers)


def _train(
    trainee: Trainee,
    dataset: Dataset[Batch],
    plan: TrainingPlan,
    run: Run,
    fabric: "Fabric",
    workers: int,
) -> State:
    state = run.load_state()
    groups = decay_groups(trainee, plan.weight_decay)
    optimizer: Any = torch.optim.AdamW(groups, betas=_BETAS, eps=1e-8, fused=True)
    ema = _ema(trainee, plan)
    _restore(state, trainee, optimizer, ema)
    model, optimizer = fabric.setup(trainee, optimizer)
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=_Steps(plan, fabric, state.step),
        collate_fn=joined,
        num_workers=workers,
        worker_init_fn=_leave_ctrl_c,
    )
    end = min(plan.steps, plan.until_step or plan.steps)
    own = piece(state.step, trainee.threads, fabric)
    if state.step < end:
        state.pieces.append({})
    seconds_before = state.seconds
    began = time.monotonic() - seconds_before
    board = _board(run, state) if fabric.is_global_zero else None
    recent: list[Mapping[str, float]] = []
    # Other processes may be at another step when a signal comes.
    listening = fabric.world_size == 1 and threading.current_thread() is threading.main_thread()
    with progress("Training", plan.steps) as bar, stop_signals(listening) as stop:
        bar.advance(steps=state.step)
        waiting = Waiting(iter(_readable(loader)))
        for batch in waiting if state.step < end else ():
            run.skip(batch.skipped)
            _seed(plan.seed, state.step, fabric.global_rank)
            recent.append(_step(model, optimizer, batch, plan, state.step, fabric))
            trainee.after_step(fabric)
            if ema is not None:
                ema.update_parameters(trainee.weights)
            state.step += 1
            last = state.step == end or stop.signal is not None
            if state.step % LOG_EVERY_STEPS == 0 or state.step == plan.steps:
                _log(state, recent, plan, board)
            bar.advance(f"loss {state.history[-1]['loss']:.3f}" if state.history else "")
            if state.step % plan.save_every_steps == 0 or last:
                state.seconds = time.monotonic() - began
                own.last_step, own.waiting_seconds = state.step, waiting.seconds
                own.seconds = state.seconds - seconds_before
                state.pieces[-1] = own.facts()
                state.tensors = _tensors(trainee, optimizer, ema)
                if fabric.is_global_zero:
                    run.save_state(state)
                fabric.barrier()
            if last:
                break
    if board is not None:
        board.close()
    if state.step < plan.steps:
        raise TrainingPausedError(
            f"{run.folder}: saved after step {state.step} of {plan.steps}; the same command goes "
            "on from there.",
            0 if stop.signal is None else 128 + stop.signal,
        )
    if ema is not None:
        trainee.weights.load_state_dict(ema.module.state_dict())
    return state


@torch.no_grad()
def validate(
    trainee: Trainee, dataset: Dataset[Batch], batches: int, batch_size: int, seed: int = 0
) -> dict[str, float]:
    """The mean loss and figures on the first crops of a dataset, in eval mode, on one process."""
    training = trainee.training
    trainee.eval()
    sums: dict[str, float] = {}
    for index in range(batches):
        _seed(seed, index, 0)
        batch = batch_of(dataset, index, batch_size)
        device = next(trainee.parameters()).device
        loss, figures = trainee(*(each.to(device) for each in batch.inputs))
        for name, value in {"loss": loss, **figures}.items():
            sums[name] = sums.get(name, 0.0) + float(value) / batches
    trainee.train(training)
    return sums


def _step(
    model: Any, optimizer: Any, batch: Batch, plan: TrainingPlan, step: int, fabric: "Fabric"
) -> Mapping[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate_at(step)
    loss, figures = model(*(fabric.to_device(each) for each in batch.inputs))
    if not loss.isfinite():
        raise CheckpointError(
            f"step {step}: the loss is {loss.item()}. Lower --learning-rate, or use full precision."
        )
    optimizer.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(model, optimizer, max_norm=plan.clip_norm)
    optimizer.step()
    figures = {"loss": loss.detach(), "gradient_norm": norm, **figures}
    if fabric.world_size > 1:
        figures = cast(dict[str, Tensor], fabric.all_reduce(figures, reduce_op="mean"))
    return {name: float(value) for name, value in figures.items()}


def _board(run: Run, state: State) -> "SummaryWriter":
    """TensorBoard's log, without what a run that was killed wrote after its last state."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.folder / LOG_FOLDER), purge_step=state.step + 1)


def _log(
    state: State,
    recent: list[Mapping[str, float]],
    plan: TrainingPlan,
    board: "SummaryWriter | None",
) -> None:
    row = {name: sum(each[name] for each in recent) / len(recent) for name in recent[0]}
    row["learning_rate"] = plan.learning_rate_at(state.step - 1)
    state.history.append({"step": state.step, **row})
    if board is not None:
        for name, value in row.items():
            board.add_scalar(name, value, state.step)
    recent.clear()


def _readable(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The loader's batches; a worker's error without the traceback that is pasted into it."""
    try:
        yield from loader
    except AudioError as error:
        message = str(error).strip().splitlines()[-1]
        raise AudioError(message.removeprefix(f"{AudioError.__module__}.AudioError: ")) from None


def _leave_ctrl_c(worker: int) -> None:
    """A terminal's Ctrl-C reaches the reading processes too: the training ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _seed(seed: int, step: int, rank: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def _ema(trainee: Trainee, plan: TrainingPlan) -> AveragedModel | None:
    if plan.ema_decay is None:
        return None
    average = get_ema_multi_avg_fn(plan.ema_decay)
    return AveragedModel(trainee.weights, multi_avg_fn=average, use_buffers=True)


def _tensors(
    trainee: Trainee, optimizer: Any, ema: AveragedModel | None
) -> dict[str, dict[str, Tensor]]:
    moments = {
        f"{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    tensors = {"weights": trainee.weights.state_dict(), "optimizer": moments}
    return tensors if ema is None else {**tensors, "ema": ema.state_dict()}


def _restore(state: State, trainee: Trainee, optimizer: Any, ema: AveragedModel | None) -> None:
    if not state.tensors:
        return
    try:
        trainee.weights.load_state_dict(state.tensors["weights"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.tensors["optimizer"].items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        if ema is not None:
            ema.load_state_dict(state.tensors["ema"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the saved state is of another model ({error}). Remove it to start over."
        ) from None
    state.tensors = {}


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters as an optimizer's groups: matrices are decayed, norms and biases not."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
