"""A tagger that says little that is wrong: groups, and thresholds from music it never heard."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...errors import AudioError
from ...reference.head import Head, HeadConfig
from ..data.manifest import Recording
from .fit import Examples, fit, loss_of_logits, predict

# Of each group one tag holds at most: tempo, mode, energy, mood, voice, family of the genre.
GROUPS = (
    ("slow", "moderate", "fast"),
    ("major", "minor"),
    ("calm", "energetic"),
    ("happy", "sad"),
    ("vocals", "instrumental"),
    ("rock and metal", "orchestral", "electronic", "acoustic"),
)
FAMILY_OF = {
    "rock": "rock and metal",
    "metal": "rock and metal",
    "classical": "orchestral",
    "baroque": "orchestral",
    "house": "electronic",
    "techno": "electronic",
    "hip hop": "electronic",
    "ambient": "electronic",
    "country": "acoustic",
    "bossa nova": "acoustic",
    "swing": "acoustic",
}
LEAST_PRECISION = 0.7  # of a tag, or it leaves the vocabulary
_LEAST_KNOWN = 5  # real tracks on which a tag holds, and as many on which not: they decide alone
_OFFSETS_DECAY = 0.01  # of the mean loss: few tracks move little
_ALIKE = 16  # windows of each track
_OWN_TRACKS = 16  # what the mean and deviation of synthetic music count for among those of tracks
_LEAST_SAID = 3  # on fewer tracks nothing is known of a tag's precision


@dataclass(frozen=True, eq=False)
class HeardTracks:
    """Whole tracks of real music.

    Attributes:
        features: of each track, (windows, levels, 2 * width).
        recordings: theirs, with tags.
    """

    features: Sequence[np.ndarray]
    recordings: Sequence[Recording]


def with_family(recording: Recording) -> Recording:
    """A recording with the family of its genre among its tags."""
    if recording.tags is None:
        return recording
    families = {FAMILY_OF[tag] for tag in recording.tags if tag in FAMILY_OF}
    return recording.model_copy(update={"tags": (*recording.tags, *sorted(families))})


def grouped(labels: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The labels with those of a group side by side, behind the others, and the groups of which
    there are two labels or more."""
    groups = [[label for label in group if label in labels] for group in GROUPS]
    groups = [group for group in groups if len(group) > 1]
    together = [label for group in groups for label in group]
    return [*(label for label in labels if label not in together), *together], groups


def fit_tagger(
    config: HeadConfig, train: Examples, valid: Examples, real: HeardTracks, seed: int
) -> Head:
    """Fit a multilabel head, calibrate its thresholds on ``valid`` and on real music, and fit it
    again without the tags whose precision no threshold brings to ``LEAST_PRECISION``.

    It learns from synthetic music, standardised by that music's mean and deviation. The head that
    is returned is adapted to real music: see ``adapted_to``.

    Args:
        config: of the head; its labels in the order of ``grouped``.
        train, valid: synthetic music, as for ``fit``.
        real: music for calibration, of every kind that the tags tell apart.
        seed: of the fits.

    Returns:
        The head; its figures name the tags that left.

    Raises:
        AudioError: no tag is left.
    """
    left: list[str] = []
    while True:
        head = fit(config, train, valid, seed)
        adapted = adapted_to(real, head)
        thresholds = calibrated(head, valid, adapted, real)
        kept = [place for place, each in enumerate(thresholds) if each is not None]
        if len(kept) == len(thresholds):
            figures = {**head.config.figures, "left_out": sorted(left)}
            adapted.config = replace(
                head.config,
                thresholds=[each for each in thresholds if each is not None],
                figures=figures,
            )
            return adapted
        left += [config.labels[place] for place in set(range(len(thresholds))) - set(kept)]
        if not kept:
            raise AudioError(f"no tag reaches a precision of {LEAST_PRECISION} on this music.")
        labels, groups = grouped([config.labels[place] for place in kept])
        columns = [config.labels.index(label) for label in labels]
        config = replace(config, labels=labels, groups=groups)
        train, valid = _of_labels(train, columns), _of_labels(valid, columns)


def adapted_to(real: HeardTracks, head: Head) -> Head:
    """A copy for real music.

    It standardises by real music's mean and deviation, every track counting alike, so that what
    tells all synthetic music from all real music decides over no tag; the head's own count as those
    of a few tracks more (Schneider et al. 2020, arXiv 2006.16971). And each logit has an offset,
    the likeliest by the tracks: how often a tag holds differs, too (bias correction, Alexandari et
    al. 2020, arXiv 1901.06852).
    """
    tracks = []
    for each in real.features:
        windows = np.linspace(0, len(each) - 1, _ALIKE).round().astype(int)
        tracks.append(each[windows])
    variance, mean = torch.var_mean(torch.from_numpy(np.concatenate(tracks)), 0, correction=0)
    share = len(tracks) / (len(tracks) + _OWN_TRACKS)
    adapted = copy.deepcopy(head)
    with torch.no_grad():
        adapted.mean.lerp_(mean, share)
        adapted.deviation.copy_(head.deviation.square().lerp(variance, share).sqrt())
        adapted.output.bias.add_(offsets(adapted, real))
    return adapted


def offsets(head: Head, real: HeardTracks) -> Tensor:
    """What to add to the logits (labels,) of whole tracks; 0 for a tag that says nothing there."""
    truth = torch.from_numpy(truths(real.recordings, head.config.labels))
    with torch.no_grad():
        logits = torch.stack([head(torch.from_numpy(each)).mean(0) for each in real.features])
    told = (truth == 1).any(0) & (truth == 0).any(0)
    found = torch.zeros(len(told), requires_grad=True)
    if not told.any():
        return found.detach()
    optimizer = torch.optim.LBFGS([found], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        moved = logits + found * told
        loss = loss_of_logits(head.config, moved, truth)
        loss = loss + _OFFSETS_DECAY * found.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (found * told).detach()


def calibrated(head: Head, valid: Examples, adapted: Head, real: HeardTracks) -> list[float | None]:
    """Each tag's threshold: the lowest at which it is right often enough; None where there is none.

    The real tracks that say whether it holds decide. Where they are few, ``valid`` decides, and
    they can only raise the threshold.
    """
    windows = best_of_groups(head.config, predict(head, valid.features))
    tracks = [predict(adapted, each).mean(0) for each in real.features]
    heard = best_of_groups(head.config, np.stack(tracks))
    truth = truths(real.recordings, head.config.labels)
    found: list[float | None] = []
    for label in range(len(head.config.labels)):
        known = np.isfinite(truth[:, label])
        holds, scores = truth[known, label], heard[known, label]
        if min(holds.sum(), (1 - holds).sum()) >= _LEAST_KNOWN:
            threshold = lowest_threshold(holds, scores)
        else:
            told = np.isfinite(valid.targets[:, label])
            threshold = lowest_threshold(valid.targets[told, label], windows[told, label])
            if threshold is not None:
                threshold = raised(threshold, holds, scores)
        found.append(threshold)
    return found


def truths(recordings: Sequence[Recording], labels: Sequence[str]) -> np.ndarray:
    """``truth_of`` each recording: (recordings, labels)."""
    return np.stack([truth_of(each, labels) for each in recordings])


def truth_of(recording: Recording, labels: Sequence[str]) -> np.ndarray:
    """Whether each label holds: float32 (labels,), 1 or 0, NaN where it is not known."""
    holds, unknown = set(recording.tags or ()), set(recording.tags_unknown or ())
    return np.array(
        [1 if label in holds else np.nan if label in unknown else 0 for label in labels], np.float32
    )


def best_of_groups(config: HeadConfig, scores: np.ndarray) -> np.ndarray:
    """Scores (..., labels) with 0 for all but the best label of each group."""
    found = scores.copy()
    for place in config.places:
        part = found[..., place]
        part[part < part.max(-1, keepdims=True)] = 0
    return found


def lowest_threshold(holds: np.ndarray, scores: np.ndarray) -> float | None:
    """The lowest threshold with a precision of ``LEAST_PRECISION``; None where there is none.

    Args:
        holds: (examples,) 0 or 1.
        scores: (examples,).
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order].astype(np.float64), holds[order].cumsum()
    following = np.append(ranked[1:], 0.0)
    precise = right >= LEAST_PRECISION * np.arange(1, len(ranked) + 1)
    (cuts,) = np.nonzero(precise & (ranked > following))  # equal scores cannot be parted
    if not len(cuts):
        return None
    return float((ranked[cuts[-1]] + following[cuts[-1]]) / 2)


def raised(threshold: float, holds: np.ndarray, scores: np.ndarray) -> float | None:
    """A threshold raised as far as precision on real tracks requires; None where nothing helps."""
    said = scores >= threshold
    if said.sum() < _LEAST_SAID or holds[said].mean() >= LEAST_PRECISION:
        return threshold
    higher = lowest_threshold(holds[said], scores[said])
    return None if higher is None else max(threshold, higher)


def _of_labels(examples: Examples, columns: Sequence[int]) -> Examples:
    return Examples(examples.features, examples.targets[:, columns])
