"""The conformer: its unusual rotation, and what a mask hides."""

import math

import torch
from torch import Tensor

from muqrt.reference.config import ConformerConfig
from muqrt.reference.conformer import RotaryPositions, SelfAttention
from muqrt.reference.muq import MuQ

WIDTH, HEADS, STEPS = 16, 2, 9


def naive_attention(module: SelfAttention, x: Tensor, visible: Tensor) -> Tensor:
    """(steps, width) -> (steps, width), one query of one head at a time.

    A rotation turns the pair (i, i + half) of each head's part of the input by
    step / 10000 ** (i / half) radians, before query and key are projected.
    """
    head_width = WIDTH // HEADS
    half = head_width // 2
    heads = x.reshape(STEPS, HEADS, 2, half)
    turn = torch.outer(torch.arange(STEPS), 10_000 ** -(torch.arange(half) / half))[:, None]
    turned = torch.complex(heads[:, :, 0], heads[:, :, 1]) * torch.exp(1j * turn)
    rotated = torch.cat([turned.real, turned.imag], -1).reshape(STEPS, WIDTH)
    query, key, value = module.linear_q(rotated), module.linear_k(rotated), module.linear_v(x)
    mixed = torch.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * head_width, (head + 1) * head_width)
        for step in range(STEPS):
            scores = key[visible, part] @ query[step, part] / math.sqrt(head_width)
            mixed[step, part] = scores.softmax(0) @ value[visible, part]
    return module.linear_out(mixed)


@torch.no_grad()
def test_attention_against_naive() -> None:
    torch.manual_seed(0)
    module = SelfAttention(WIDTH, ConformerConfig(num_attention_heads=HEADS)).eval()
    positions = RotaryPositions(WIDTH // HEADS, 10_000)(STEPS)
    x = 3 * torch.randn(STEPS, WIDTH)
    visible = torch.tensor([True, True, False, True, True, True, False, False, True])
    for seen in (torch.ones(STEPS, dtype=torch.bool), visible):
        bias = torch.zeros(1, 1, 1, STEPS).masked_fill(~seen, torch.finfo(x.dtype).min)
        ours = module(x[None], positions, bias)[0]
        torch.testing.assert_close(ours, naive_attention(module, x, seen), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_levels(tiny: MuQ) -> None:
    encoder = tiny.model.conformer
    x = torch.randn(2, 20, 32)
    states = encoder(x)
    assert len(states) == 13
    assert torch.equal(states[0], x)
    assert all(state.shape == x.shape for state in states)
    last_layer = encoder.layers[-1](states[-2], encoder.embed_positions(20), None)
    assert torch.equal(states[-1], encoder.layer_norm(last_layer))


@torch.no_grad()
def test_masked_steps_do_not_reach_the_others(tiny: MuQ) -> None:
    x = torch.randn(2, 40, 32)
    mask = torch.ones(2, 40, dtype=torch.bool)
    mask[0, 10:15] = mask[1, 30:] = False
    other = x.clone()
    other[~mask] = 1e6
    kept = x.clone()
    for one, two in zip(
        tiny.model.conformer(x, mask), tiny.model.conformer(other, mask), strict=True
    ):
        assert torch.equal(one, two)
    assert torch.equal(x, kept), "the input was changed in place"


@torch.no_grad()
def test_a_mask_that_hides_nothing(tiny: MuQ) -> None:
    x = torch.randn(2, 12, 32)
    without = tiny.model.conformer(x)
    with_mask = tiny.model.conformer(x, torch.ones(2, 12, dtype=torch.bool))
    for one, two in zip(without, with_mask, strict=True):
        assert torch.equal(one, two)


@torch.no_grad()
def test_a_row_hidden_entirely_is_finite(tiny: MuQ) -> None:
    mask = torch.tensor([[False] * 12, [True] * 12])
    assert all(s.isfinite().all() for s in tiny.model.conformer(torch.randn(2, 12, 32), mask))
