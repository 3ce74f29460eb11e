"""The whole model: its steps, its rows, its masks and its names."""

import math
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import LARGE


@given(samples=st.integers(1025, 30_000))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_steps(shallow: MuQ, samples: int) -> None:
    frames_per_step = {25: 4, 50: 2}[shallow.config.label_rate]
    assert shallow.config.frames_per_step == frames_per_step
    features = shallow(torch.zeros(1, samples)).last_hidden_state
    assert features.shape == (1, math.ceil(samples // 240 / frames_per_step), 32)
    mask = torch.ones(1, samples)
    assert torch.equal(shallow(torch.zeros(1, samples), mask).last_hidden_state, features)


@torch.no_grad()
def test_rows_are_independent(tiny: MuQ, recording: Tensor) -> None:
    one, other = recording[:15_000], recording[20_000:35_000]
    alone = tiny(one[None]).hidden_states
    spoilt = tiny(torch.stack([one, torch.full_like(one, math.nan), other])).hidden_states
    for expected, state in zip(alone, spoilt, strict=True):
        torch.testing.assert_close(state[0], expected[0], atol=1e-5, rtol=1e-5)
        assert state[1].isnan().all()
        assert state[2].isfinite().all()


@torch.no_grad()
def test_masked_audio_does_not_reach_the_other_steps(tiny: MuQ, recording: Tensor) -> None:
    waveform = recording[None, :48_000]
    mask = torch.ones_like(waveform)
    mask[:, 24_000:] = 0
    other = waveform.clone()
    # A step hears half a window and six mel frames past itself: 1024 + 6 * 240 samples.
    other[:, 24_000 + 3_000 :] = 0.5
    for one, two in zip(
        tiny(waveform, mask).hidden_states, tiny(other, mask).hidden_states, strict=True
    ):
        assert torch.equal(one, two)
    assert not torch.equal(tiny(waveform).last_hidden_state, tiny(other).last_hidden_state)


def test_large_has_the_official_names_and_shapes(golden: Path) -> None:
    with torch.device("meta"):
        state = MuQ(LARGE).state_dict()
    ours = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items())]
    assert ours == (golden / "official_large_state_dict.txt").read_text().splitlines()
