"""The encoder with states kept, against the reference on whole windows."""

import pytest
import torch
from torch import Tensor

from muqrt.benchmarks.kept_states.encoder import KeptStates
from muqrt.reference.conformer import ConformerEncoder
from muqrt.reference.random_model import TINY, random_model

WIDTH, STEPS, MOVED = TINY.encoder_dim, 61, 7


def encoder(depth: int) -> ConformerEncoder:
    whole = random_model(TINY).model.conformer
    whole.layers = whole.layers[:depth]
    return whole


def frames(steps: int) -> Tensor:
    return torch.randn(steps, WIDTH, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def after_a_hop(
    whole: ConformerEncoder, refreshed: int | None
) -> tuple[list[Tensor], list[Tensor]]:
    """A second window's states, and the reference's; what no window reads any more is poisoned."""
    stream, x = KeptStates(whole), frames(STEPS + MOVED)
    stream.hop(0, x[:STEPS], None)
    for kept in stream._kept:
        kept[:MOVED] = torch.nan
    return stream.hop(MOVED, x[MOVED:], refreshed), [each[0] for each in whole(x[None, MOVED:])]


@pytest.mark.parametrize("refreshed", [None, STEPS])
def test_all_steps_computed_again_are_the_window_alone(refreshed: int | None) -> None:
    found, expected = after_a_hop(encoder(3), refreshed)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_kept_inputs_of_the_first_attention_are_exact_for_new_steps() -> None:
    # They come from the frames step by step, and the depthwise kernel reads 15 steps to each side.
    found, expected = after_a_hop(encoder(1), refreshed=15)
    torch.testing.assert_close(found[-1][-MOVED:], expected[-1][-MOVED:], rtol=1e-4, atol=1e-4)


def test_deeper_layers_are_not_exact_and_finite() -> None:
    found, expected = after_a_hop(encoder(3), refreshed=0)
    assert all(each.isfinite().all() for each in found)
    assert (found[-1] - expected[-1]).abs().max() > 1e-3
