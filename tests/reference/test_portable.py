"""The form for converters: the reference's numbers without an STFT, and exportable as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.kernels.log_mel import contract
from muqrt.reference.head import load_head, pooled
from muqrt.reference.mel import LogMel
from muqrt.reference.muq import MuQ
from muqrt.reference.portable.log_mel import MatrixLogMel, MelMatrices
from muqrt.reference.portable.model import PortableMuQ, exported
from muqrt.reference.random_model import TINY, random_model
from muqrt.runtime.bundle.certificate import certifies
from muqrt.runtime.parity.measuring import measure

MATRICES = MelMatrices(contract.first_stage(), contract.second_stage(), contract.mel_projection())


@pytest.fixture(scope="module")
def muq() -> MuQ:
    return random_model(TINY)


@pytest.mark.parametrize("grouped", [0, 2])
@torch.inference_mode()
def test_equal_to_the_reference_by_the_gate(
    muq: MuQ, recording: Tensor, tiny_head: Path, grouped: int
) -> None:
    head, depth = load_head(tiny_head), muq.config.encoder_depth
    groups = [head.config.labels[:grouped]] if grouped else []
    head.config = replace(head.config, groups=groups)
    portable = PortableMuQ(muq, MATRICES, depth, ["features", "embedding", "tags"], head).eval()
    for samples in (1_025, 9_999, 24_000):
        waveform = torch.stack([recording[:samples], recording[-samples:]])
        states = muq(waveform).hidden_states
        at_levels = torch.stack([pooled(states[level]) for level in head.config.levels], 1)
        expected = (states[-1], states[-1].mean(1), head.probabilities(at_levels))
        measured = [
            measure("recording", 1.0, name, ours.numpy(), theirs.numpy())
            for name, ours, theirs in zip(
                portable.outputs, portable(waveform), expected, strict=True
            )
        ]
        assert certifies("fp32", measured), measured


@torch.inference_mode()
def test_silence_and_a_shallower_level(muq: MuQ) -> None:
    portable = PortableMuQ(muq, MATRICES, 2, ["features"]).eval()
    silence = torch.zeros(1, 4_800)
    np.testing.assert_allclose(portable(silence)[0], muq(silence).hidden_states[2], atol=1e-5)


def test_every_constant_is_in_the_state_dict(muq: MuQ) -> None:
    portable = PortableMuQ(muq, MATRICES, 1, ["features"])
    assert {name for name, _ in portable.named_buffers()} <= portable.state_dict().keys()


def test_it_exports_for_every_length() -> None:
    log_mel = MatrixLogMel(LogMel(240, 128, mean_db=1.0, std_db=2.0), MATRICES)
    program = exported(log_mel, 1_025, 24_000).module()
    for samples in (1_025, 9_999, 24_000):
        waveform = torch.linspace(-0.5, 0.5, samples)[None].sin()
        torch.testing.assert_close(program(waveform), log_mel(waveform))
