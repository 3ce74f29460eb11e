"""Fitting: against closed forms and brute force, and always the same head."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from muqrt.errors import AudioError
from muqrt.reference.head import Head, HeadConfig
from muqrt.training.probe import fit as module
from muqrt.training.probe.fit import NO_EVIDENCE_THRESHOLD, Examples, fit, loss_of, predict

LEVELS, WIDTH = 3, 6
RECIPES = module._RECIPES


@pytest.fixture(autouse=True)
def one_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECIPES", RECIPES[:1])


def config(kind: str, labels: int, hidden: int = 0) -> HeadConfig:
    names = [str(index) for index in range(labels)]
    return HeadConfig("task", kind, names, list(range(LEVELS)), WIDTH // 2, hidden)  # type: ignore[arg-type]


def features(count: int, seed: int) -> np.ndarray:
    """Level 1 says something, in units of its own; the others are noise."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, LEVELS, WIDTH))
    found[:, 1] = 500 + 40 * found[:, 1]
    return found.astype(np.float32)


def hidden_truth(found: np.ndarray) -> np.ndarray:
    """(examples, 3): what the features say, without units."""
    return (found[:, 1, :3] - 500) / 40


def classes(count: int, seed: int) -> Examples:
    found = features(count, seed)
    return Examples(found, hidden_truth(found).argmax(1))


def tags(count: int, seed: int) -> Examples:
    found = features(count, seed)
    return Examples(found, (hidden_truth(found) > [0.0, 1.0, 9.0]).astype(np.float32))


def numbers(count: int, seed: int) -> Examples:
    found = features(count, seed)
    return Examples(found, (hidden_truth(found)[:, :2] * [0.01, 30] + [7, -200]).astype("f4"))


def test_classes_are_found_as_well_as_by_logistic_regression() -> None:
    train, valid, test = classes(400, 0), classes(100, 1), classes(300, 2)
    found = predict(fit(config("class", 3), train, valid), test.features)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    oracle = LogisticRegression().fit(hidden_truth(train.features), train.targets)
    best = oracle.score(hidden_truth(test.features), test.targets)
    assert (found.argmax(1) == test.targets).mean() > best - 0.05 > 0.8


def test_the_informative_level_is_weighted_most() -> None:
    head = fit(config("class", 3), classes(400, 0), classes(100, 1))
    assert head.level_weights.argmax() == 1


def test_a_hidden_layer_finds_what_no_line_can() -> None:
    def ring(count: int, seed: int) -> Examples:
        found = features(count, seed)
        return Examples(found, (np.abs(hidden_truth(found)[:, 0]) > 0.67).astype(np.int64))

    train, valid, test = ring(1500, 0), ring(300, 1), ring(300, 2)
    right = {
        hidden: predict(fit(config("class", 2, hidden), train, valid), test.features).argmax(1)
        == test.targets
        for hidden in (0, 64)
    }
    assert right[0].mean() < 0.65 < 0.8 < right[64].mean()


def test_numbers_come_back_in_their_own_units() -> None:
    train, valid, test = numbers(400, 0), numbers(100, 1), numbers(100, 2)
    found = predict(fit(config("regression", 2), train, valid), test.features)
    errors = ((found - test.targets) ** 2).mean(0) / test.targets.var(0)
    assert (errors < 0.1).all()


def test_tags_have_a_threshold_each() -> None:
    train, valid = tags(400, 0), tags(100, 1)
    head = fit(config("multilabel", 3), train, valid)
    assert head.config.thresholds[2] == NO_EVIDENCE_THRESHOLD
    probabilities = predict(head, valid.features)
    assert (probabilities >= 0).all() and (probabilities <= 1).all()
    for label in (0, 1):
        present = valid.targets[:, label] == 1
        said = probabilities[:, label] > head.config.thresholds[label]
        assert (said == present).mean() > 0.85


def test_the_mean_and_deviation_are_the_training_datas() -> None:
    train = classes(50, 0)
    train.features[:, 0, 0] = 3.0
    head = fit(config("class", 3), train, classes(50, 1))
    np.testing.assert_allclose(head.mean, train.features.mean(0), rtol=1e-4, atol=1e-5)
    expected = train.features.std(0)
    expected[0, 0] = 1
    np.testing.assert_allclose(head.deviation, expected, rtol=1e-4)


def test_the_same_seed_gives_the_same_head_and_leaves_torchs_alone() -> None:
    train, valid = classes(60, 0), classes(30, 1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = fit(config("class", 3, hidden=8), train, valid, seed=1)
    assert torch.rand(1) == expected
    second = fit(config("class", 3, hidden=8), train, valid, seed=1)
    other = fit(config("class", 3, hidden=8), train, valid, seed=2)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert first.config == second.config
    assert not torch.equal(first.output.weight, other.output.weight)


def test_unknown_classes_do_not_count() -> None:
    train, valid = classes(60, 0), classes(30, 1)
    noisy = Examples(
        np.concatenate([train.features, features(40, 9)]),
        np.concatenate([train.targets, np.full(40, -1)]),
    )
    first, second = (fit(config("class", 3), each, valid) for each in (train, noisy))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_the_recipe_with_the_lowest_loss_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid = classes(30, 0), classes(30, 1)
    alone = []
    for recipe in RECIPES:
        monkeypatch.setattr(module, "_RECIPES", [recipe])
        alone.append(fit(config("class", 3), train, valid).config)
    monkeypatch.setattr(module, "_RECIPES", RECIPES)
    best = min(alone, key=lambda each: each.figures["validation_loss"])
    assert fit(config("class", 3), train, valid).config == best


def test_the_figures_say_how_it_went() -> None:
    figures = fit(config("class", 3), classes(200, 0), classes(50, 1)).config.figures
    assert 0 < figures["validation_loss"] < np.log(3)
    assert figures["steps"] >= 1


def test_what_cannot_be_fitted() -> None:
    good = classes(20, 0)
    nothing = Examples(good.features, np.full(20, -1))
    with pytest.raises(AudioError, match="no training examples"):
        fit(config("class", 3), nothing, good)
    with pytest.raises(AudioError, match="no validation examples"):
        fit(config("class", 3), good, nothing)
    with pytest.raises(AudioError, match="expected"):
        fit(config("class", 3), Examples(good.features[:, :2], good.targets), good)
    broken = Examples(np.full_like(good.features, np.nan), good.targets)
    with pytest.raises(AudioError, match="NaN or infinite training"):
        fit(config("class", 3), broken, good)


def test_tags_that_are_not_known_do_not_count() -> None:
    train, valid = tags(60, 0), tags(30, 1)

    head = Head(config("multilabel", 3)).eval()
    targets = torch.from_numpy(train.targets.copy())
    with torch.no_grad():
        whole = loss_of(head, torch.from_numpy(train.features[:1]), targets[:1])
        masked = targets[:1].clone()
        masked[0, 1] = torch.nan
        answers = head(torch.from_numpy(train.features[:1]))[0]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            answers[[0, 2]], targets[0, [0, 2]]
        )
        found = loss_of(head, torch.from_numpy(train.features[:1]), masked)
    assert found == pytest.approx(float(expected), rel=1e-6)
    assert torch.isfinite(whole)
    half = Examples(valid.features, valid.targets.copy())
    half.targets[::2] = np.nan
    head = fit(config("multilabel", 3), train, half)
    assert np.isfinite(head.config.thresholds).all()
