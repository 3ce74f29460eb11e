"""The frames of a training step against the whole log-mel of the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.reference.mel import LogMel
from muqrt.training.pretrain.mel import log_mel_frames, reached

HOP = 240
LOG_MEL = LogMel(HOP, 128, 6.77, 18.4)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 3), samples=st.integers(1200, 40_000), seed=st.integers(0, 99))
def test_frames_are_the_references(rows: int, samples: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    waveform = torch.randn(rows, samples, generator=random) * 0.1
    wanted = torch.rand(rows, samples // HOP, generator=random) < 0.5
    expected = LOG_MEL(waveform).transpose(1, 2)[wanted]
    ours = log_mel_frames(LOG_MEL, waveform, wanted)
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)


def test_silence_is_the_floor() -> None:
    waveform = torch.zeros(1, 2400)
    ours = log_mel_frames(LOG_MEL, waveform, torch.ones(1, 10, dtype=torch.bool))
    assert float(ours.max()) == pytest.approx((-100 - 6.77) / 18.4)


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 79), length=st.integers(1, 20))
def test_what_is_not_reached_does_not_change(first: int, length: int) -> None:
    """The reached frames do, all of them: none is computed twice in vain."""
    waveform = torch.randn(1, 80 * HOP, generator=torch.Generator().manual_seed(0))
    other, is_masked = waveform.clone(), torch.zeros(1, 80, dtype=torch.bool)
    is_masked[:, first : first + length] = True
    other[:, first * HOP : (first + length) * HOP] = 5.0
    changed = (LOG_MEL(waveform) != LOG_MEL(other)).any(1)
    assert torch.equal(changed, reached(is_masked, HOP))
