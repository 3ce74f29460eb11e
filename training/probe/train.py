"""Train a head on a frozen MuQ: recordings with labels in, a head and its figures out."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...errors import UsageError
from ...reference.checkpoint import Checkpoint
from ...reference.head import Head, HeadConfig
from ...reference.muq import MuQ
from ..data.crops import Skipped
from ..data.manifest import Recording, Split
from .calibrate import HeardTracks, fit_tagger, grouped, with_family
from .features import Encoder, Featured, examples, features_of, pooled_over_parts
from .fit import Examples, fit, predict
from .tasks import Task, splits_of


class MuqEncoder:
    """A checkpoint as an encoder of all its hidden states.

    Args:
        checkpoint: its model is moved to the device.
        device: where it runs.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.identity = checkpoint.sha256
        self._model: MuQ = checkpoint.model.to(device).eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, waveforms: np.ndarray, parts: int) -> np.ndarray:
        """See ``Encoder``."""
        states = self._model(torch.from_numpy(waveforms).to(self._device)).hidden_states
        return pooled_over_parts(torch.stack(states, 1).cpu().numpy(), parts)


@dataclass(frozen=True)
class Probe:
    """What is trained on what.

    Attributes:
        task: the question.
        levels: which hidden states are mixed; all of them when None.
        hidden: neurons of the head; none is linear.
        seed: of the head.
    """

    task: Task
    levels: Sequence[int] | None = None
    hidden: int = 0
    seed: int = 0

    def levels_of(self, checkpoint: Checkpoint) -> list[int]:
        """The levels, all of which the checkpoint has.

        Raises:
            UsageError: it does not.
        """
        depth = checkpoint.model.config.encoder_depth
        if self.levels is None:
            return list(range(depth + 1))
        wrong = [level for level in self.levels if not 0 <= level <= depth]
        if wrong or not self.levels:
            raise UsageError(f"levels {wrong}: {checkpoint.name} has 0 to {depth}.")
        return sorted(set(self.levels))


@dataclass(frozen=True, eq=False)
class Trained:
    """A head, how many recordings it was made and judged with, and those left out."""

    head: Head
    tracks: dict[Split, int]
    skipped: list[Skipped]


def train_probe(
    checkpoint: Checkpoint,
    recordings: Sequence[Recording],
    probe: Probe,
    cache: Path,
    device: torch.device,
    on_step: Callable[[Path], None] = lambda path: None,
    calibration: Sequence[Recording] = (),
) -> Trained:
    """Encode the recordings, fit a head, and judge it on the test split.

    Args:
        checkpoint: stays as it is.
        recordings: with labels and splits; those without the task's label do not take part.
        probe: what is trained.
        cache: folder of features: what is there is not computed again, so that an interrupted
            training goes on.
        device: where the model runs.
        on_step: called once for each recording that takes part.
        calibration: real music for a tagger: see ``fit_tagger``. Of those with a split, "valid".

    Returns:
        The head, whose figures are the fit's and those of single windows of the test split.

    Raises:
        AudioError: a split is empty or leaks, or nothing in it can be used.
        UsageError: levels the checkpoint does not have.
    """
    task, levels = probe.task, probe.levels_of(checkpoint)
    if calibration:
        recordings = [with_family(each) for each in recordings]
    encoder = MuqEncoder(checkpoint, device)
    found: dict[Split, list[Featured]] = {}
    skipped: list[Skipped] = []
    for split, recordings_of in splits_of(recordings, task).items():
        found[split], unusable = features_of(encoder, recordings_of, task, cache, on_step)
        skipped += unusable
    labels = task.labels_of(each.recording for each in found["train"])
    groups: list[list[str]] = []
    if task.kind == "multilabel":
        labels, groups = grouped(labels)
    config = HeadConfig(
        task=task.name,
        kind=task.kind,
        labels=labels,
        groups=groups,
        levels=levels,
        width=checkpoint.model.config.encoder_dim,
        hidden=probe.hidden,
        per_step=task.per_step,
        window_seconds=task.window_seconds,
        model_sha256=checkpoint.sha256,
    )
    train, valid, test = (
        _at_levels(examples(found[split], task, labels), levels)
        for split in ("train", "valid", "test")
    )
    if calibration:
        real, unusable = heard_tracks(encoder, calibration, task, levels, cache, on_step)
        skipped += unusable
        head = fit_tagger(config, train, valid, real, probe.seed)
        test = Examples(test.features, test.targets[:, _columns(labels, head.config.labels)])
    else:
        head = fit(config, train, valid, probe.seed)
    figures = {**head.config.figures, "test": score(head, test)}
    head.config = dataclasses.replace(head.config, figures=figures)
    return Trained(head, {split: len(each) for split, each in found.items()}, skipped)


def heard_tracks(
    encoder: Encoder,
    calibration: Sequence[Recording],
    task: Task,
    levels: list[int],
    cache: Path,
    on_step: Callable[[Path], None] = lambda path: None,
) -> tuple[HeardTracks, list[Skipped]]:
    """Features of real music for calibration, and what could not be used."""
    wanted = [each for each in calibration if each.tags is not None and each.split != "test"]
    found, skipped = features_of(encoder, wanted, task, cache, on_step)
    features = [each.features[:, levels] for each in found]
    return HeardTracks(features, [each.recording for each in found]), skipped


def _columns(labels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    return [labels.index(label) for label in wanted]


def score(head: Head, test: Examples) -> dict[str, float]:
    """How good a head's answers to single windows, or steps, are: accuracy of a class, macro F1
    at the head's thresholds of a multilabel task, mean R2 of a regression."""
    answers, targets = predict(head, test.features), test.targets
    if head.config.kind == "class":
        return {"accuracy": float((answers.argmax(1) == targets).mean())}
    if head.config.kind == "regression":
        errors = ((answers - targets) ** 2).sum(0)
        total = ((targets - targets.mean(0)) ** 2).sum(0)
        return {"R2": float((1 - errors / np.maximum(total, np.finfo(np.float32).tiny)).mean())}
    known = np.isfinite(targets)
    said = (answers > np.array(head.config.thresholds, np.float32)) & known
    targets = np.where(known, targets, 0)
    hits = (said * targets).sum(0)
    f1 = 2 * hits / np.maximum(said.sum(0) + targets.sum(0), 1)
    judged = targets.any(0)
    return {"F1": float(f1[judged].mean()) if judged.any() else 0.0}


def _at_levels(all_levels: Examples, levels: list[int]) -> Examples:
    if levels == list(range(all_levels.features.shape[1])):
        return all_levels
    return Examples(all_levels.features[:, levels], all_levels.targets)
