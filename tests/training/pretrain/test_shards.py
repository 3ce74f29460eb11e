"""Shards of a batch: the numbers of the whole batch, the same bits each time."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor

from muqrt.benchmarks.training import as_the_paper_says
from muqrt.reference.config import MuQConfig
from muqrt.reference.random_model import MINI
from muqrt.training.pretrain.shards import Shards
from muqrt.training.pretrain.trainee import MaskedPrediction, initial_muq

SEGMENT = 9600


def losses(config: MuQConfig, threads: int, steps: int, seconds: float = 1.2) -> list[float]:
    """The losses of some steps of training; no threads stands for the reference."""
    trainee = MaskedPrediction(initial_muq(config, None, 0), max(threads, 1)).train()
    trained = [each for each in trainee.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-4)
    found = []
    for step in range(steps):
        torch.manual_seed(step)
        waveform = torch.randn(5, round(seconds * 24_000)) * 0.1
        loss = trainee(waveform)[0] if threads else as_the_paper_says(trainee, waveform)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("recon", [None, 0.1])
def test_losses_are_the_references(shallow: MuQConfig, threads: int, recon: float | None) -> None:
    config = dataclasses.replace(shallow, recon_loss_ratio=recon)
    expected = losses(config, 0, 4)
    assert losses(config, threads, 4) == pytest.approx(expected, rel=2e-5)


@pytest.mark.full
@pytest.mark.parametrize("threads", [1, 2])
def test_losses_of_twenty_steps_of_mini_are_the_references(threads: int) -> None:
    expected = losses(MINI, 0, 20)
    assert losses(MINI, threads, 20) == pytest.approx(expected, rel=1e-4)


def test_the_same_bits_each_time(shallow: MuQConfig) -> None:
    assert losses(shallow, 3, 3) == losses(shallow, 3, 3)


def test_gradients_and_buffers_are_the_whole_batchs(shallow: MuQConfig) -> None:
    ours = MaskedPrediction(initial_muq(shallow, None, 0), 2).train()
    whole = MaskedPrediction(copy.deepcopy(initial_muq(shallow, None, 0))).train()
    waveform = torch.randn(5, 3 * SEGMENT) * 0.1
    for trainee in (ours, whole):
        torch.manual_seed(1)
        trainee(waveform)[0].backward()
    # Together: a bias before a batch norm has a gradient of zero, rounded.
    gradient, expected = (
        torch.cat([p.grad.flatten() for p in each.parameters() if p.grad is not None])
        for each in (ours, whole)
    )
    assert float((gradient - expected).norm() / expected.norm()) < 1e-5
    for (name, a), (_, b) in zip(ours.named_buffers(), whole.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_in_bf16_they_are_close(shallow: MuQConfig) -> None:
    waveform, found = torch.randn(4, 3 * SEGMENT) * 0.1, []
    for threads in (1, 2):
        trainee = MaskedPrediction(initial_muq(shallow, None, 0), threads).train()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(float(trainee(waveform)[0].detach()))
    assert found[1] == pytest.approx(found[0], rel=2e-3)


def test_without_gradients_there_are_none(shallow: MuQConfig) -> None:
    trainee = MaskedPrediction(initial_muq(shallow, None, 0), 2).eval()
    with torch.no_grad():
        loss, figures = trainee(torch.randn(4, 2 * SEGMENT) * 0.1)
    assert not loss.requires_grad
    assert set(figures) == {"accuracy", *(f"accuracy_{stage}" for stage in range(8))}


def test_a_shards_error_is_raised_and_nobody_waits_for_it() -> None:
    def fails(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if float(x[0]) == 1:
            raise ValueError("this one")
        return x.sum(), {}

    with pytest.raises(ValueError, match="this one"), torch.no_grad():
        Shards(2).run(fails, [torch.arange(2.0)], [])
