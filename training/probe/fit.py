"""Fit a probe's head to features: the one mechanism behind every probe."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import AudioError
from ...reference.head import STATISTICS, Head, HeadConfig, probabilities
from ..loop.train import decay_groups
from .tasks import UNKNOWN

_DROPOUT = 0.2
_SMALLEST_DEVIATION = 1e-6
NO_EVIDENCE_THRESHOLD = 0.5
# (learning rate, weight decay): what suits depends on how many examples there are for each of the
# features, so all are tried.
_RECIPES = ((3e-3, 0.01), (1e-3, 1.0), (3e-3, 10.0))
# A round is what lies between two looks at the validation loss: an epoch, or several small ones.
_MOST_ROUNDS = 60
_PATIENCE_ROUNDS = 5
_STEPS_PER_ROUND = 50
_LEAST_GAIN = 1e-3  # of the first loss: no less is worth waiting for
_BATCHES = range(16, 513)  # sizes
_THREADED_FEATURES = 1 << 20  # of a batch
_EVALUATION_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Examples:
    """What a head is fitted to.

    Attributes:
        features: (examples, levels, 2 * width) float32.
        targets: int64 (examples,) of a class; float32 (examples, labels) otherwise.
    """

    features: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


def fit(config: HeadConfig, train: Examples, valid: Examples, seed: int = 0) -> Head:
    """The head with the lowest loss on the validation examples, early stopped, of a few recipes.

    The same arguments give the same head on one machine's CPU.

    Args:
        config: of the head wanted; ``levels`` says which hidden states the features are.
        train: what it learns; a class of ``UNKNOWN`` is left out, as in ``valid``.
        valid: what chooses among rounds and recipes, and sets a multilabel head's thresholds.
        seed: of the initial weights, the order of examples and the dropout.

    Returns:
        The head in eval mode; its figures are the validation loss, of standardised numbers for a
        regression, and how it was reached.

    Raises:
        AudioError: no examples, features that are not finite or not the configuration's.
    """
    train, valid = _answerable(config, train, "training"), _answerable(config, valid, "validation")
    scale = _Scale(train.targets) if config.kind == "regression" else None
    if scale is not None:
        train, valid = scale.applied(train), scale.applied(valid)
    batch_features = _batch_size(len(train)) * train.features[0].size
    with torch.random.fork_rng(devices=[]), _threads(batch_features):
        fits = [_fit(config, train, valid, seed, *recipe) for recipe in _RECIPES]
    head = min(fits, key=lambda each: each.config.figures["validation_loss"])
    if scale is not None:
        scale.fold_into(head.output)
    if config.kind == "multilabel":
        probabilities = predict(head, valid.features)
        known = np.isfinite(valid.targets)
        thresholds = [
            calibrated_threshold(
                valid.targets[known[:, label], label], probabilities[known[:, label], label]
            )
            for label in range(len(config.labels))
        ]
        head.config = replace(head.config, thresholds=thresholds)
    return head


def loss_of(head: Head, features: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a head's answers; a class of ``UNKNOWN`` or a tag of NaN does not count.

    Args:
        head: any.
        features: (..., levels, 2 * width).
        targets: int64 (...) of a class; float (..., labels) otherwise.
    """
    return loss_of_logits(head.config, head(features), targets)


def loss_of_logits(config: HeadConfig, answers: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of answers (..., labels): see ``loss_of``."""
    if config.kind == "multilabel":
        places = config.places
        lone = [place.start for place in places if place.stop - place.start == 1]
        losses = [_lone_losses(answers[..., lone], targets[..., lone])]
        for place in places:
            if place.stop - place.start > 1:
                losses.append(_group_losses(answers[..., place], targets[..., place]))
        return torch.cat(losses).mean()
    if config.kind == "regression":
        return F.mse_loss(answers, targets)
    known = targets != UNKNOWN
    return F.cross_entropy(answers[known], targets[known], reduction="sum") / known.sum().clamp(1)


def _lone_losses(answers: Tensor, targets: Tensor) -> Tensor:
    """One loss for each known target: (known,)."""
    told = targets.isfinite()
    return F.binary_cross_entropy_with_logits(answers[told], targets[told], reduction="none")


def _group_losses(answers: Tensor, targets: Tensor) -> Tensor:
    """One loss for each example whose group is known: (known,). A label that holds tells it all."""
    holds = targets == 1
    told = holds.any(-1) | targets.isfinite().all(-1)
    answers, holds = answers[told], holds[told]
    logs = F.pad(answers, (0, 1)).log_softmax(-1)  # the last is for none of them
    wanted = torch.cat([holds, ~holds.any(-1, keepdim=True)], -1).float()
    return -(logs * wanted).sum(-1) / wanted.sum(-1)


@torch.no_grad()
def predict(head: Head, features: np.ndarray) -> np.ndarray:
    """What a head answers: probabilities, or the numbers of a regression.

    Args:
        head: in eval mode, on the CPU.
        features: (examples, levels, 2 * width) float32.

    Returns:
        float32 (examples, labels).
    """
    logits = torch.cat([head(part) for part in torch.from_numpy(features).split(_EVALUATION_BATCH)])
    if head.config.kind == "class":
        return logits.softmax(-1).numpy()
    if head.config.kind == "multilabel":
        return probabilities(logits, head.config.places).numpy()
    return logits.numpy()


class _Scale:
    """A regression's targets to mean 0 and deviation 1, and back."""

    def __init__(self, targets: np.ndarray) -> None:
        self._mean = targets.mean(0, dtype=np.float64)
        self._deviation = np.maximum(targets.std(0, dtype=np.float64), _SMALLEST_DEVIATION)

    def applied(self, examples: Examples) -> Examples:
        scaled = (examples.targets - self._mean) / self._deviation
        return replace(examples, targets=scaled.astype(np.float32))

    @torch.no_grad()
    def fold_into(self, output: nn.Linear) -> None:
        deviation = torch.from_numpy(self._deviation).float()
        output.weight.mul_(deviation[:, None])
        output.bias.mul_(deviation).add_(torch.from_numpy(self._mean).float())


def _answerable(config: HeadConfig, examples: Examples, purpose: str) -> Examples:
    shape = (len(config.levels), STATISTICS * config.width)
    if examples.features.shape[1:] != shape:
        raise AudioError(
            f"task {config.task!r}: {purpose} features of shape {examples.features.shape}; "
            f"expected (examples, {shape[0]}, {shape[1]})."
        )
    if not np.isfinite(examples.features).all():
        raise AudioError(f"task {config.task!r}: NaN or infinite {purpose} features.")
    if config.kind == "class" and (examples.targets == UNKNOWN).any():
        known = examples.targets != UNKNOWN
        examples = Examples(examples.features[known], examples.targets[known])
    if not len(examples):
        raise AudioError(f"task {config.task!r}: no {purpose} examples whose label is known.")
    return examples


def _fit(
    config: HeadConfig,
    train: Examples,
    valid: Examples,
    seed: int,
    learning_rate: float,
    weight_decay: float,
) -> Head:
    torch.manual_seed(seed)
    head = Head(config, _DROPOUT if config.hidden else 0.0)
    features, targets = torch.from_numpy(train.features), torch.from_numpy(train.targets)
    _standardise(head, features)
    # Biases and the levels' weights are not decayed: a rare label needs its bias.
    optimizer = torch.optim.AdamW(decay_groups(head, weight_decay), learning_rate, fused=True)
    batches = _batches(len(train))
    steps = max(_STEPS_PER_ROUND, len(train) // _batch_size(len(train)))
    lowest = mark = _mean_loss(head.eval(), valid)
    least_gain = _LEAST_GAIN * mark
    best, best_round, mark_round = copy.deepcopy(head.state_dict()), 0, 0
    for round_ in range(1, _MOST_ROUNDS + 1):
        head.train()
        for batch in islice(batches, steps):
            loss = loss_of(head, features[batch], targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss_now = _mean_loss(head.eval(), valid)
        if loss_now < lowest:
            lowest, best_round = loss_now, round_
            best = copy.deepcopy(head.state_dict())
        if loss_now < mark - least_gain:
            mark, mark_round = loss_now, round_
        elif round_ - mark_round >= _PATIENCE_ROUNDS:
            break
    head.load_state_dict(best)
    figures = {
        "validation_loss": lowest,
        "steps": best_round * steps,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
    }
    head.config = replace(config, figures={**config.figures, **figures})
    return head


@torch.no_grad()
def _standardise(head: Head, features: Tensor) -> None:
    deviation, mean = torch.std_mean(features, 0, correction=0)
    head.mean.copy_(mean)
    # A feature that never changes says nothing; dividing by 1 leaves it at zero.
    head.deviation.copy_(torch.where(deviation < _SMALLEST_DEVIATION, 1.0, deviation))


def _batch_size(examples: int) -> int:
    """It grows with the number of examples, so that epochs end."""
    return min(max(examples // _STEPS_PER_ROUND, _BATCHES.start), _BATCHES.stop - 1)


def _batches(examples: int) -> Iterator[Tensor]:
    """Without end: all examples in random order, and then in another."""
    while True:
        yield from torch.randperm(examples).split(_batch_size(examples))


@contextmanager
def _threads(batch_features: int) -> Iterator[None]:
    """One thread for small batches: more would wait for each other most of the time."""
    threads = torch.get_num_threads()
    if batch_features < _THREADED_FEATURES:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _mean_loss(head: Head, examples: Examples) -> float:
    parts = (torch.from_numpy(each) for each in (examples.features, examples.targets))
    batches = zip(*(part.split(_EVALUATION_BATCH) for part in parts), strict=True)
    total = sum(float(loss_of(head, *batch)) * len(batch[0]) for batch in batches)
    return total / len(examples)


def calibrated_threshold(present: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability above which a label counts, so that it is said as often as it is true.

    The highest F1 would do as well for a label that is known well. But one that is hardly known is
    best said always, by F1, and a track would be in major and in minor.

    Args:
        present: (examples,) 0 or 1.
        probabilities: (examples,).

    Returns:
        Half-way between the examples it parts, as near to that number as equal probabilities let
        it; ``NO_EVIDENCE_THRESHOLD`` where no example has the label.
    """
    wanted = int(present.sum())
    if not wanted:
        return NO_EVIDENCE_THRESHOLD
    ranked = np.sort(probabilities.astype(np.float64))[::-1]
    following = np.append(ranked[1:], 0.0)
    (cuts,) = np.nonzero(ranked > following)  # equal probabilities cannot be parted
    if not len(cuts):
        return NO_EVIDENCE_THRESHOLD
    last = cuts[np.abs(cuts + 1 - wanted).argmin()]
    return float((ranked[last] + following[last]) / 2)
