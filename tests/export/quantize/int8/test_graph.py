"""The int8 graph in ONNX Runtime against the same arithmetic imitated in PyTorch."""

import numpy as np
import onnxruntime as ort
import pytest
import torch

from muqrt.export.onnx_from_checkpoint import onnx_from_checkpoint
from muqrt.export.parity.excerpt import Excerpt
from muqrt.export.quantize.int8 import fake
from muqrt.export.quantize.int8.artefact import Calibrated, of_sites
from muqrt.export.quantize.int8.graph import Int8Graph
from muqrt.export.quantize.int8.sites import Site, activations, sites
from muqrt.reference.muq import MuQ

from .conftest import LEVEL


def answers(
    calibrated: Calibrated, chosen: list[Site], waveform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ONNX Runtime's features, and PyTorch's with the sites rounded."""
    ranges = of_sites(calibrated.ranges, [site.name for site in chosen])
    graph = onnx_from_checkpoint(calibrated.model, ["features"], LEVEL, graph=Int8Graph(ranges))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    watched = activations(calibrated.model, LEVEL)
    with fake.quantized(chosen, watched, calibrated.ranges):
        expected = features(calibrated.model, waveform)
    return session.run(None, {"waveform": waveform})[0], expected


def features(model: MuQ, waveform: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(waveform)).hidden_states[LEVEL].numpy()


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("last", [1, None], ids=["front end", "all"])
@pytest.mark.parametrize("samples", [1_025, 2_399, 33_333])
def test_sites_in_a_row(
    calibrated: Calibrated, songs: list[Excerpt], samples: int, last: int | None
) -> None:
    """Where a number lies between two codes either may be taken, and everything after differs: but
    the answer is as near to the exact one."""
    waveform = np.concatenate([each.waveform[:, :samples] for each in songs])
    ours, expected = answers(calibrated, sites(calibrated.model, LEVEL)[:last], waveform)
    exact = features(calibrated.model, waveform)
    assert ours.shape == expected.shape
    assert 0 < relative(ours, exact) < 1.2 * relative(expected, exact)


@pytest.mark.parametrize("index", range(1, 1 + 9))
def test_a_site_alone(calibrated: Calibrated, songs: list[Excerpt], index: int) -> None:
    """Every kind in a layer: what is not chosen stays float32."""
    site = sites(calibrated.model, LEVEL)[index]
    waveform = songs[0].waveform[:, :20_011]
    ours, expected = answers(calibrated, [site], waveform)
    exact = features(calibrated.model, waveform)
    assert relative(ours, exact) > 2 * relative(ours, expected)


def test_nothing_chosen_is_the_model(
    uneven: MuQ, calibrated: Calibrated, songs: list[Excerpt]
) -> None:
    waveform = songs[0].waveform[:, :20_011]
    ours, _ = answers(calibrated, [], waveform)
    assert relative(ours, features(uneven, waveform)) < 1e-5
