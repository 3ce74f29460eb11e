"""Heads: the arithmetic by hand, and files that are refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from muqrt.errors import CheckpointError
from muqrt.reference.head import Head, HeadConfig, load_head, pooled, save_head

CONFIG = HeadConfig("genre", "class", ["a", "b", "c"], levels=[2, 5], width=4, hidden=3)


@pytest.fixture
def head() -> Head:
    torch.manual_seed(0)
    head = Head(CONFIG)
    for tensor in head.state_dict().values():
        tensor.uniform_(0.5, 2)
    return head.eval()


def test_the_answer_by_hand(head: Head) -> None:
    states = np.random.default_rng(0).normal(size=(7, 2, 8))
    weights = {name: tensor.numpy().astype(float) for name, tensor in head.state_dict().items()}
    mixture = np.exp(weights["level_weights"]) / np.exp(weights["level_weights"]).sum()
    expected = []
    for state in states:
        standard = (state - weights["mean"]) / weights["deviation"]
        mixed = mixture[0] * standard[0] + mixture[1] * standard[1]
        hidden = np.maximum(weights["hidden.weight"] @ mixed + weights["hidden.bias"], 0)
        expected.append(weights["output.weight"] @ hidden + weights["output.bias"])
    with torch.no_grad():
        found = head(torch.from_numpy(states).float())
        stepwise = head(torch.from_numpy(states).float().reshape(1, 7, 2, 8))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(stepwise[0], expected, rtol=1e-5)


def test_pooling_by_hand() -> None:
    states = torch.randn(3, 2, 11, 4)
    found = pooled(states)
    torch.testing.assert_close(found[..., :4], states.mean(2))
    deviation = (states - states.mean(2, keepdim=True)).square().mean(2).sqrt()
    torch.testing.assert_close(found[..., 4:], deviation, rtol=1e-4, atol=1e-5)


def test_what_never_changes_has_a_gradient() -> None:
    states = torch.ones(5, 4, requires_grad=True)
    pooled(states).sum().backward()
    assert states.grad is not None and states.grad.isfinite().all()


def test_one_level_is_taken_as_it_is() -> None:
    config = dataclasses.replace(CONFIG, levels=[3], hidden=0)
    states = torch.randn(2, 1, 8)
    assert torch.equal(Head(config).mix(states), states[:, 0])


def test_a_saved_head_answers_the_same(head: Head, tmp_path: Path) -> None:
    save_head(head, tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    states = torch.randn(5, 2, 8)
    assert loaded.config == CONFIG
    assert not loaded.training
    assert torch.equal(loaded(states), head(states))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 5}, "the weights are not those of its head.json"),
        ({"kind": "guess"}, "kind"),
        ({"labels": []}, "labels"),
        ({"thresholds": [0.5]}, "1 thresholds for 3 labels"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_another_configuration_is_refused(
    change: dict[str, object], message: str, head: Head, tmp_path: Path
) -> None:
    save_head(head, tmp_path)
    path = tmp_path / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}), encoding="utf-8")
    with pytest.raises(CheckpointError) as raised:
        load_head(tmp_path)
    assert message in str(raised.value)


def test_weights_that_are_not_finite_are_refused(head: Head, tmp_path: Path) -> None:
    head.output.bias.data[0] = float("nan")
    save_head(head, tmp_path)
    with pytest.raises(CheckpointError, match="NaN"):
        load_head(tmp_path)


def test_no_head(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no head"):
        load_head(tmp_path)
