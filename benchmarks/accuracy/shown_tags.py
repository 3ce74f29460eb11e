"""Judge the tags that a listener is shown, on music whose makers say what it is."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...reference.head import STATISTICS, HeadConfig
from ...runtime.bundle.tagging import Vocabulary, present
from ...training.data.manifest import Recording
from ...training.probe.calibrate import FAMILY_OF, fit_tagger, grouped, truth_of, with_family
from ...training.probe.features import Encoder, examples, features_of
from ...training.probe.tasks import find_task, splits_of
from ...training.probe.train import heard_tracks
from .contenders import Contender
from .evaluation import SHOWN_TAGS, Evaluation, Result, TagCount
from .metrics import SHOWN

ALWAYS_THE_SAME = "always the same"
_TASK = find_task("tagging")


@dataclass(frozen=True, eq=False)
class Shown:
    """What was shown for the tracks of the test.

    Attributes:
        tags: the vocabulary.
        scores: float32 (tracks, tags).
        is_shown: bool (tracks, tags).
    """

    tags: list[str]
    scores: np.ndarray
    is_shown: np.ndarray


def evaluate_shown_tags(
    done: Evaluation,
    contenders: Sequence[Contender],
    recordings: Sequence[Recording],
    training: Sequence[Recording],
    cache: Path,
    on_step: Callable[[str], None] = lambda doing: None,
) -> None:
    """Judge every contender's own tags, or those of a head that is fitted for it, on the test
    split, beside the best answer that is the same for all tracks.

    Args:
        done: gets the results, the counts and the files left out.
        contenders: those without tags of their own need ``training``.
        recordings: the manifest: real music with splits "valid", for thresholds, and "test".
        training: music to fit a head on; may be empty.
        cache: folder of features and tags already computed.
        on_step: called with what is being done, once for each contender and recording.

    Raises:
        UsageError: a contender has no tags and there is no training music.
        AudioError: nothing can be used.
    """
    test = [each for each in recordings if each.tags is not None and each.split == "test"]
    shown: Shown | None = None
    for contender in contenders:
        step = _steps(on_step, contender)
        if contender.tags is not None:
            found, heard = _own(contender.tags, contender.vocabulary, test, cache, step, done)
        elif training:
            found, heard = _fitted(contender, recordings, training, test, cache, step, done)
        else:
            raise UsageError(f"{contender.name} has no tags: give --training, music to fit a head.")
        _judge(contender.name, found, heard, done)
        shown = shown or found
    if shown is not None:
        _judge(ALWAYS_THE_SAME, _constant(shown.tags, heard), heard, done)


def _own(
    open_tags: Callable[[], AbstractContextManager[Encoder]],
    vocabulary: Vocabulary | None,
    test: Sequence[Recording],
    cache: Path,
    on_step: Callable[[Path], None],
    done: Evaluation,
) -> tuple[Shown, list[Recording]]:
    assert vocabulary is not None
    with open_tags() as encoder:
        found, skipped = features_of(encoder, test, _TASK, cache, on_step)
    done.skipped.extend(skipped)
    scores = np.stack([each.features[:, 0].mean(0) for each in found])
    limits = list(vocabulary.limits().values())
    shown = Shown(list(vocabulary.vocabulary), scores, present(vocabulary, scores, limits))
    return shown, [each.recording for each in found]


def _fitted(
    contender: Contender,
    recordings: Sequence[Recording],
    training: Sequence[Recording],
    test: Sequence[Recording],
    cache: Path,
    on_step: Callable[[Path], None],
    done: Evaluation,
) -> tuple[Shown, list[Recording]]:
    from ...export.sources.head import tagging_of
    from ...training.probe.fit import predict

    splits = splits_of([with_family(each) for each in training], _TASK)
    with contender.open() as encoder:
        features = {
            split: features_of(encoder, splits[split], _TASK, cache, on_step)[0]
            for split in ("train", "valid")
        }
        _, levels, inputs = features["train"][0].features.shape
        every = list(range(levels))
        real, _ = heard_tracks(encoder, recordings, _TASK, every, cache, on_step)
        found, skipped = features_of(encoder, test, _TASK, cache, on_step)
    done.skipped.extend(skipped)
    labels, groups = grouped(_TASK.labels_of(each.recording for each in features["train"]))
    config = HeadConfig(
        _TASK.name, "multilabel", labels, every, inputs // STATISTICS, groups=groups
    )
    train, valid = (examples(features[split], _TASK, labels) for split in ("train", "valid"))
    head = fit_tagger(config, train, valid, real, seed=0)
    scores = np.stack([predict(head, each.features).mean(0) for each in found])
    record = tagging_of(head)
    shown = Shown(head.config.labels, scores, present(record, scores, record.thresholds))
    return shown, [each.recording for each in found]


def _judge(name: str, shown: Shown, recordings: Sequence[Recording], done: Evaluation) -> None:
    asked = {tag for each in recordings for tag in (*(each.tags or ()), *(each.tags_unknown or ()))}
    truth = np.stack([truth_of(each, shown.tags) for each in recordings])
    truth[:, [tag not in asked for tag in shown.tags]] = np.nan
    holds, not_holds = truth == 1, truth == 0
    right, wrong = shown.is_shown & holds, shown.is_shown & not_holds
    for column, tag in enumerate(shown.tags):
        counts = [int(each[:, column].sum()) for each in (holds, not_holds, right, wrong)]
        if counts[0] or counts[3]:
            done.tags.append(TagCount(name, tag, *counts))
    families = [_family(shown, track) for track in range(len(recordings))]
    true = [next((t for t in each.tags or () if t in _FAMILIES), None) for each in recordings]
    known = [(said, is_) for said, is_ in zip(families, true, strict=True) if is_ is not None]
    answered = [said == is_ for said, is_ in known if said is not None]
    told = sum(len(set(each.tags or ()) & asked) for each in recordings)
    metrics = {
        "precision": right.sum() / max(1, right.sum() + wrong.sum()),
        "recall": right.sum() / max(1, told),
        SHOWN: shown.is_shown.sum(1).mean(),
        "tracks with no tag": (~shown.is_shown.any(1)).mean(),
        "family: answered": len(answered) / max(1, len(known)),
        "family: right where answered": sum(answered) / max(1, len(answered)),
        "family: right of all": sum(answered) / max(1, len(known)),
    }
    values = {metric: [float(value)] for metric, value in metrics.items()}
    tracks = {"train": 0, "valid": 0, "test": len(recordings)}
    done.results.append(Result(name, SHOWN_TAGS, tracks, len(shown.tags), values))


_FAMILIES = list(dict.fromkeys(FAMILY_OF.values()))


def _family(shown: Shown, track: int) -> str | None:
    """The family that is shown, or that of the most probable genre that is."""
    best: tuple[float, str] | None = None
    for column, tag in enumerate(shown.tags):
        family = tag if tag in _FAMILIES else FAMILY_OF.get(tag)
        if family is not None and shown.is_shown[track, column]:
            best = max(best or (0.0, ""), (float(shown.scores[track, column]), family))
    return best[1] if best else None


def _constant(tags: Sequence[str], recordings: Sequence[Recording]) -> Shown:
    """The answer that is right most often if all tracks get the same: the test's own majority."""
    families = [tag for tag in _FAMILIES if tag not in tags]
    every = [*tags, *families]
    truth = np.stack([truth_of(each, every) for each in recordings])
    is_usual = (truth == 1).sum(0) > (truth == 0).sum(0)
    counts = [(truth[:, every.index(family)] == 1).sum() for family in _FAMILIES]
    is_usual[[every.index(family) for family in _FAMILIES]] = False
    is_usual[every.index(_FAMILIES[int(np.argmax(counts))])] = True
    shown = np.tile(is_usual, (len(recordings), 1))
    return Shown(every, shown.astype(np.float32), shown)


def _steps(on_step: Callable[[str], None], contender: Contender) -> Callable[[Path], None]:
    return lambda path: on_step(f"{contender.name}, {SHOWN_TAGS}")
