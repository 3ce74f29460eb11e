"""Masked prediction: what is masked, what is asked for, and against what it is scored."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from muqrt.reference.config import MuQConfig
from muqrt.training.pretrain.trainee import NOISE_STD, MaskedPrediction, initial_muq, mask

STEP = 960
SEGMENT = 9600  # 0.4 s


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 4), samples=st.integers(SEGMENT, 5 * SEGMENT + 1234))
def test_masks_are_whole_segments_of_noise(batch: int, samples: int) -> None:
    waveform = torch.full((batch, samples), 7.0)
    masked, is_masked = mask(waveform, MuQConfig())
    assert is_masked.shape == (batch, samples // STEP)
    replaced = masked != 7.0
    for row, steps in zip(replaced, is_masked, strict=True):
        whole = samples // SEGMENT
        segments = steps[: whole * 10].reshape(whole, 10)
        assert torch.equal(segments.all(1), segments.any(1))
        assert segments.any()
        assert not steps[whole * 10 :].any()
        expected = segments.all(1).repeat_interleave(SEGMENT)
        assert torch.equal(row[: whole * SEGMENT], expected)
        assert not row[whole * SEGMENT :].any()


def test_as_many_segments_are_masked_as_asked_for_and_by_the_right_noise() -> None:
    torch.manual_seed(0)
    masked, is_masked = mask(torch.full((40, 25 * SEGMENT), 7.0), MuQConfig())
    assert 0.57 < float(is_masked.float().mean()) < 0.63
    noise = masked[masked != 7.0]
    assert float(noise.mean()) == pytest.approx(0, abs=1e-3)
    assert float(noise.std()) == pytest.approx(NOISE_STD, rel=1e-2)


def naive(trainee: MaskedPrediction, waveform: Tensor, tokens: Tensor) -> tuple[float, float]:
    """Loss and accuracy, step by step, with the mask drawn again from the same seed."""
    masked, is_masked = mask(waveform, trainee.muq.config)
    logits = trainee.muq.model.linear(trainee.muq(masked).last_hidden_state)
    losses, right = [], []
    for b, t in is_masked.nonzero().tolist():
        for stage in range(tokens.shape[1]):
            row = logits[b, t, 1024 * stage : 1024 * (stage + 1)]
            losses.append(F.cross_entropy(row, tokens[b, stage, t]))
            right.append(float(row.argmax() == tokens[b, stage, t]))
    return float(torch.stack(losses).detach().mean()), sum(right) / len(right)


def test_loss_and_accuracy_are_the_naive_ones(shallow: MuQConfig) -> None:
    trainee = MaskedPrediction(initial_muq(shallow, None, 0)).eval()
    waveform = torch.randn(2, 2 * SEGMENT) * 0.1
    tokens = torch.randint(1024, (2, 8, 20))
    torch.manual_seed(3)
    loss, figures = trainee(waveform, tokens)
    torch.manual_seed(3)
    expected, accuracy = naive(trainee, waveform, tokens)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(figures["accuracy"]) == pytest.approx(accuracy)


def test_the_targets_are_the_unmasked_mels_tokens(shallow: MuQConfig) -> None:
    trainee = MaskedPrediction(initial_muq(shallow, None, 0)).eval()
    model, waveform = trainee.muq.model, torch.randn(2, 2 * SEGMENT) * 0.1
    log_mel = model.preprocessor_melspec_2048(waveform)
    frames = log_mel.transpose(1, 2).reshape(2, 20, 512).transpose(1, 2)
    _, tokens = model.rvq(frames)
    losses = []
    for given_tokens in (None, tokens):
        torch.manual_seed(0)
        losses.append(trainee(waveform, given_tokens)[0])
    assert torch.equal(*losses)


def test_random_projection_targets(shallow: MuQConfig) -> None:
    config = dataclasses.replace(shallow, use_rvq_target=False)
    trainee = MaskedPrediction(initial_muq(config, None, 0))
    loss, figures = trainee(torch.randn(2, SEGMENT) * 0.1)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(9.0, abs=1.0)  # log 8192, about
    assert set(figures) == {"accuracy", "accuracy_0"}
    assert trainee.muq.model.quantizer_melspec_2048.codebook.grad is None


def test_every_trained_weight_gets_a_gradient(shallow: MuQConfig) -> None:
    config = dataclasses.replace(shallow, recon_loss_ratio=0.1)
    trainee = MaskedPrediction(initial_muq(config, None, 0))
    loss, _ = trainee(torch.randn(2, 3 * SEGMENT) * 0.1)
    loss.backward()
    trained = {n: p for n, p in trainee.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    frozen = {n.split(".")[2] for n, p in trainee.named_parameters() if not p.requires_grad}
    assert frozen == {"rvq", "conformer", "cls_token"}


def test_the_targets_are_the_same_under_autocast(shallow: MuQConfig) -> None:
    trainee = MaskedPrediction(initial_muq(shallow, None, 0)).eval()
    waveform, seen = torch.randn(2, 3 * SEGMENT) * 0.1, []
    tokenize = trainee.tokenize
    trainee.tokenize = lambda log_mel: seen.append(tokenize(log_mel)) or seen[-1]
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            trainee(waveform)
    assert torch.equal(*seen)


def test_bf16_is_close_and_its_weights_stay_float32(shallow: MuQConfig) -> None:
    trainee = MaskedPrediction(initial_muq(shallow, None, 0)).eval()
    waveform, losses = torch.randn(2, 3 * SEGMENT) * 0.1, []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(float(trainee(waveform)[0]))
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0] != losses[1]
