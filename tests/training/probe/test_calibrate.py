"""Groups and thresholds of taggers, against definitions and brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muqrt.errors import AudioError
from muqrt.reference.head import HeadConfig
from muqrt.training.data.manifest import Recording
from muqrt.training.probe.calibrate import (
    LEAST_PRECISION,
    HeardTracks,
    fit_tagger,
    grouped,
    lowest_threshold,
    offsets,
    raised,
    with_family,
)
from muqrt.training.probe.fit import Examples, loss_of, predict
from muqrt.training.probe.fit import fit as fit_head

LABELS = ["noise", "slow", "fast", "calm"]


def config(groups: list[list[str]]) -> HeadConfig:
    return HeadConfig("tagging", "multilabel", LABELS, [0], 3, groups=groups)


def examples(count: int, seed: int) -> Examples:
    """Feature 0 says slow or fast or neither, feature 1 calm, and nothing says noise."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, 1, 6)).astype(np.float32)
    tempo, calm = found[:, 0, 0], found[:, 0, 1]
    noise = random.random(count) < 0.3
    targets = np.stack([noise, tempo < -0.5, tempo > 0.5, calm > 0], 1)
    return Examples(found, targets.astype(np.float32))


def recording(tags: tuple[str, ...], unknown: tuple[str, ...] = ()) -> Recording:
    return Recording(audio=Path("a.flac"), tags=tags, tags_unknown=unknown)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_lowest_threshold_by_brute_force(pairs: list[tuple[bool, int]]) -> None:
    holds = np.array([pair[0] for pair in pairs], np.float32)
    scores = np.array([pair[1] / 7 for pair in pairs], np.float32)
    wanted = None
    for cut in sorted({float(score) for score in scores if score > 0}):
        if holds[scores >= cut].mean() >= LEAST_PRECISION:
            wanted = cut
            break
    found = lowest_threshold(holds, scores)
    assert (found is None) == (wanted is None)
    if found is not None:
        np.testing.assert_array_equal(scores >= found, scores >= wanted)


def test_real_music_raises_a_threshold_or_refuses_the_tag() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert raised(0.5, np.array([1, 1, 1, 0]), scores) == 0.5
    assert raised(0.5, np.array([1, 0, 0, 0]), scores) == pytest.approx(0.85)
    assert raised(0.5, np.array([0, 0, 0, 1]), scores) is None
    assert raised(0.75, np.array([0, 0, 0, 0]), scores) == 0.75  # shown twice: too little to tell


def test_a_group_is_one_softmax_with_none_of_them() -> None:
    head = fit_head(config([["slow", "fast"]]), examples(400, 0), examples(100, 1))
    test = examples(200, 2)
    found = predict(head, test.features)
    assert (found[:, 1:3].sum(1) < 1).all()
    told = np.stack([found[:, 1], found[:, 2], 1 - found[:, 1:3].sum(1)], 1).argmax(1)
    truth = np.stack([test.targets[:, 1], test.targets[:, 2], 1 - test.targets[:, 1:3].sum(1)], 1)
    assert (told == truth.argmax(1)).mean() > 0.7
    # The loss of the group, by hand, where one label is not known and another holds.
    targets = torch.tensor([[torch.nan, torch.nan, 1.0, torch.nan]])
    features = torch.from_numpy(test.features[:1])
    loss = loss_of(head, features, targets)
    assert float(loss.detach()) == pytest.approx(-np.log(found[0, 2]), rel=1e-4)


def test_tags_that_real_music_does_not_bear_out_leave() -> None:
    train, valid, real = examples(600, 0), examples(200, 1), examples(40, 2)
    lies = [
        recording(("fast",) if tempo > 0.5 else (), ("slow",)) for tempo in real.features[:, 0, 0]
    ]
    heard = HeardTracks([each[None] for each in real.features], lies)
    head = fit_tagger(config([["slow", "fast"]]), train, valid, heard, seed=0)
    # Noise cannot be learned, and on no track here is calm right; of slow nothing is known.
    assert head.config.labels == ["slow", "fast"]
    assert head.config.figures["left_out"] == ["calm", "noise"]
    assert len(head.config.thresholds) == 2
    silent = HeardTracks(heard.features, [recording((), tuple(LABELS))] * len(lies))
    assert (offsets(head, silent) == 0).all()
    nothing = HeardTracks(heard.features, [recording(())] * len(lies))
    with pytest.raises(AudioError, match="no tag reaches a precision"):
        fit_tagger(config([]), train, valid, nothing, seed=0)


def test_real_music_may_sound_altogether_different() -> None:
    train, valid, real, new = (examples(n, seed) for seed, n in enumerate((300, 100, 60, 200)))
    for each in (real, new):
        each.features[:, 0, 0] -= 4  # to a head that knows only the others, all of it is slow
    holds = [tempo > -3.5 for tempo in real.features[:, 0, 0]]
    truth = [recording(("fast",) if fast else ()) for fast in holds]
    heard = HeardTracks([each[None] for each in real.features], truth)
    head = fit_tagger(config([["slow", "fast"]]), train, valid, heard, seed=0)
    place = head.config.labels.index("fast")
    fast = predict(head, new.features)[:, place] > head.config.thresholds[place]
    assert fast.sum() > 30
    assert new.targets[fast, 2].mean() > 0.6  # of all, 0.31


def test_labels_of_a_group_stand_together() -> None:
    labels, groups = grouped(["calm", "fast", "piano", "slow", "vocals"])
    assert (labels, groups) == (["calm", "piano", "vocals", "slow", "fast"], [["slow", "fast"]])
    assert with_family(recording(("metal", "fast"))).tags == ("metal", "fast", "rock and metal")
