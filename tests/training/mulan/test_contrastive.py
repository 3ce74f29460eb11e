"""The contrastive loss against sums written out, alone and as one of several processes."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from muqrt.errors import UsageError
from muqrt.training.mulan.trainee import decoupled_contrastive_loss

TEMPERATURES = torch.full((1, 1, 1), math.log(12.0))


def embeddings(pairs: int, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio, text = F.normalize(torch.randn(2, pairs, width, generator=generator), dim=-1)
    return audio, text


def naive_loss(audio: Tensor, text: Tensor, temperature: float) -> float:
    total = 0.0
    for i in range(len(audio)):
        own = math.exp(temperature * float(audio[i] @ text[i]))
        others = [j for j in range(len(audio)) if j != i]
        to_texts = sum(math.exp(temperature * float(audio[i] @ text[j])) for j in others)
        to_audio = sum(math.exp(temperature * float(audio[j] @ text[i])) for j in others)
        total -= 0.5 * (math.log(own / to_texts) + math.log(own / to_audio))
    return total / len(audio)


@given(pairs=st.integers(2, 9), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_the_sums_written_out(pairs: int, seed: int) -> None:
    audio, text = embeddings(pairs, seed=seed)
    found = decoupled_contrastive_loss(audio, text, TEMPERATURES)
    assert float(found) == pytest.approx(naive_loss(audio, text, 12.0), rel=1e-5, abs=1e-5)


def test_pairs_of_all_processes_and_their_gradients() -> None:
    audio, text = (each.requires_grad_() for each in embeddings(6))
    whole = decoupled_contrastive_loss(audio, text, TEMPERATURES)
    expected = torch.autograd.grad(whole, [audio, text])
    # The second of three processes, each with two pairs.
    parts = [each[2:4].detach().requires_grad_() for each in (audio, text)]
    around = {id(part): each.detach() for part, each in zip(parts, (audio, text), strict=True)}

    def all_gather(own: Tensor) -> Tensor:
        everybody = around[id(own)]
        return torch.cat([everybody[:2], own, everybody[4:]])

    loss = decoupled_contrastive_loss(parts[0], parts[1], TEMPERATURES, all_gather)
    torch.testing.assert_close(loss, whole)
    found = torch.autograd.grad(loss, parts)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two[2:4])


def test_training_brings_pairs_together() -> None:
    audio, text = (each.requires_grad_() for each in embeddings(8, width=16))
    temperatures = TEMPERATURES.clone().requires_grad_()
    optimizer = torch.optim.Adam([audio, text, temperatures], lr=0.05)
    for _ in range(60):
        loss = decoupled_contrastive_loss(
            F.normalize(audio, dim=-1), F.normalize(text, dim=-1), temperatures
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nearest = (F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T).argmax(dim=1)
    assert nearest.tolist() == list(range(8))
    assert not torch.equal(temperatures, TEMPERATURES)


def test_one_pair_is_refused() -> None:
    with pytest.raises(UsageError, match="two pairs or more"):
        decoupled_contrastive_loss(*embeddings(1), TEMPERATURES)
