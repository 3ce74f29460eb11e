"""Train a MuQ and a head together, on crops with labels."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...reference.config import SAMPLE_RATE_HZ
from ...reference.head import Head, pooled
from ...reference.muq import MuQ
from ..data.crops import Batch, Crops, usable_tracks
from ..data.manifest import Recording
from ..loop.plan import TrainingPlan
from ..loop.run import Run
from ..loop.train import Trainee, train
from .features import LEAST_SECONDS
from .fit import loss_of
from .tasks import STEP_SECONDS, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_STEP_SAMPLES = int(STEP_SECONDS * SAMPLE_RATE_HZ)


def fine_tune(
    muq: MuQ,
    head: Head,
    training: Sequence[Recording],
    task: Task,
    plan: TrainingPlan,
    run: Run,
    fabric: "Fabric",
    workers: int = 2,
) -> None:
    """Train both in place; an interrupted run goes on from its newest state.

    Args:
        muq: the model.
        head: fitted to its features.
        training: recordings of the training split with the task's label.
        task: what they answer.
        plan: how long and how fast; the crops' length is the task's.
        run: where states go.
        fabric: launched.
        workers: processes that read crops ahead.

    Raises:
        AudioError: no recording can be used, or crop after crop.
        CheckpointError: the loss is not finite.
    """
    crops = LabelledCrops(training, task, head.config.labels, plan.seed)
    trainee = JointTraining(muq, head).train()
    train(trainee, crops, plan, run, fabric, workers)
    trainee.eval()


class LabelledCrops(Dataset[Batch]):
    """Item i is the i-th crop of an endless, seeded sequence with what a head should answer.

    Args:
        recordings: with the task's label.
        task: the question.
        labels: the head's.
        seed: of the sequence.

    Crops are as long as the task's windows, or as the median recording where that is shorter;
    shorter recordings are left out.
    """

    def __init__(
        self, recordings: Sequence[Recording], task: Task, labels: Sequence[str], seed: int
    ) -> None:
        tracks, _ = usable_tracks(recordings, LEAST_SECONDS)
        seconds = min(task.window_seconds, median(track.seconds for track in tracks))
        tracks = [track for track in tracks if track.seconds >= seconds]
        grid = _STEP_SAMPLES if task.per_step else 1
        samples = int(seconds * SAMPLE_RATE_HZ) // grid * grid
        self._crops = Crops(tracks, samples, seed, grid)
        self._by_path = {recording.audio: recording for recording in recordings}
        self._task, self._labels = task, labels

    def __getitem__(self, index: int) -> Batch:
        """Crop ``index``: waveform (1, samples), targets (1, parts) or (1, parts, labels)."""
        crop, skipped = self._crops.draw(index)
        first, parts = 0, 1
        if self._task.per_step:
            first, parts = crop.start // _STEP_SAMPLES, len(crop.waveform) // _STEP_SAMPLES
        recording = self._by_path[crop.track.path]
        targets = self._task.targets(recording, self._labels, first + parts)[first:]
        return Batch(
            (torch.from_numpy(crop.waveform)[None], torch.from_numpy(targets)[None]), skipped
        )


class JointTraining(Trainee):
    """Answer crops with a head on a MuQ's hidden states, both trained."""

    def __init__(self, muq: MuQ, head: Head) -> None:
        super().__init__()
        self.muq, self.head = muq, head

    def forward(self, waveform: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss; what ``LabelledCrops`` gives, several at a time."""
        states = self.muq(waveform).hidden_states
        chosen = torch.stack([states[level] for level in self.head.config.levels], 2)
        parts = torch.tensor_split(chosen.float(), targets.shape[1], dim=1)
        features = torch.stack([pooled(part.transpose(1, 2)) for part in parts], 1)
        return loss_of(self.head, features, targets), {}
