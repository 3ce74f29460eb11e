"""Tokens back to what they stand for."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from muqrt.errors import UsageError
from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.rvq import ResidualVectorQuantize, decibels_from_tokens, stacked, unstacked

MUQ_MINI = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mini"


def random_rvq(layers: int = 1) -> ResidualVectorQuantize:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResidualVectorQuantize(24, 5, 30, 8, layers).eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_tokens_give_the_reconstruction(layers: int) -> None:
    rvq, x = random_rvq(layers), noise(3, 24, 17)
    reconstruction, tokens = rvq(x)
    torch.testing.assert_close(rvq.from_tokens(tokens), reconstruction)
    torch.testing.assert_close(rvq.from_tokens(tokens.int()), reconstruction)


@torch.no_grad()
def test_the_first_stages_are_a_coarser_answer() -> None:
    rvq, x = random_rvq(), noise(1, 24, 9)
    tokens = rvq(x)[1]
    parts = [rvq.from_tokens(tokens[:, : n + 1]) for n in range(5)]
    first, second = rvq.stages[0], rvq.stages[1]
    torch.testing.assert_close(parts[0], first(x)[0])
    torch.testing.assert_close(parts[1] - parts[0], second(x - first(x)[0])[0])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.full((1, 5, 3), 30), "tokens from 30 to 30; this RVQ's codes are 0 to 29"),
        (torch.full((1, 5, 3), -1), "tokens from -1 to -1"),
        (torch.zeros(1, 6, 3).long(), r"shape \(1, 6, 3\).*1 to 5 stages"),
        (torch.zeros(5, 3).long(), r"shape \(5, 3\)"),
    ],
)
def test_tokens_that_are_none_of_this_rvqs(tokens: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        random_rvq().from_tokens(tokens)


@pytest.mark.parametrize("frames_per_step", [1, 2, 3, 4])
def test_unstacking_undoes_stacking(frames_per_step: int) -> None:
    log_mel = noise(2, 5, 12)
    assert torch.equal(unstacked(stacked(log_mel, frames_per_step), frames_per_step), log_mel)


def test_an_incomplete_step_is_dropped() -> None:
    log_mel = noise(1, 5, 11)
    assert torch.equal(unstacked(stacked(log_mel, 4), 4), log_mel[..., :8])


@torch.no_grad()
def test_the_mel_of_muq_minis_tokens_is_near_the_musics(recording: Tensor) -> None:
    model = load_checkpoint(MUQ_MINI).model
    mel, rvq = model.model.preprocessor_melspec_2048, model.model.rvq
    assert isinstance(rvq, ResidualVectorQuantize)
    log_mel = mel(recording[None, :24_000])
    decibels = log_mel * mel.std_db + mel.mean_db
    tokens = rvq(stacked(log_mel, 4))[1]
    errors = []
    for stages in (1, 8):
        ours = decibels_from_tokens(rvq, tokens[:, :stages], 4, mel.mean_db, mel.std_db)
        assert ours.shape == decibels.shape == (1, 128, 100)
        errors.append(float((ours - decibels).abs().mean()))
    # Its deviation is 24 dB: what is lost is a small part of it, less with more stages.
    assert errors[1] < errors[0] < mel.std_db / 2
