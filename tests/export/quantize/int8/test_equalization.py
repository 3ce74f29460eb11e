"""Equalizing changes the weights, and nothing that is computed."""

import torch

from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.quantize.int8.artefact import Calibrated
from muqrt.export.quantize.int8.calibration import observe, with_fades
from muqrt.export.quantize.int8.equalization import with_folded_norms
from muqrt.export.quantize.int8.sites import activations
from muqrt.reference.muq import MuQ

from .conftest import LEVEL


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def test_the_function_is_the_same(
    uneven: MuQ, calibrated: Calibrated, songs: list[Excerpt]
) -> None:
    waveform = torch.from_numpy(songs[0].waveform[:, :33_333])
    with torch.inference_mode():
        expected = uneven(waveform).hidden_states[: LEVEL + 1]
        folded = with_folded_norms(uneven)(waveform).hidden_states[: LEVEL + 1]
        found = calibrated.model(waveform).hidden_states[: LEVEL + 1]
    for state, fold, equal in zip(expected, folded, found, strict=True):
        assert relative(fold, state) < 1e-5
        assert relative(equal, state) < 1e-5


def test_channels_become_alike(uneven: MuQ, calibrated: Calibrated, songs: list[Excerpt]) -> None:
    def unevenness(model: MuQ) -> dict[str, float]:
        seen = observe(model, activations(model, LEVEL), with_fades(songs), lambda: None)
        return {name: float(each.peaks.max() / each.peaks.median()) for name, each in seen.items()}

    before, after = unevenness(with_folded_norms(uneven)), unevenness(calibrated.model)
    for name in ("ffn1/intermediate_dense", "self_attn/linear_q_k", "conv_module/pointwise_conv1"):
        name = f"conformer/layer_1/{name}"
        assert before[name] > 15
        assert after[name] < before[name] / 2
    # A ReLU lets a channel's scale through; what an activation function gives is divided later.
    assert after["front_end/block_0/conv2"] < before["front_end/block_0/conv2"] / 2
    divided = calibrated.ranges["conformer/layer_1/ffn1/output_dense"].channels
    assert divided is not None and divided.max() > 4
