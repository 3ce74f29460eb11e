"""The official package's answers, through the drop-in."""

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.runtime.bundle.certificate import THRESHOLDS

from .conftest import answers, cases, mulan, muq

GATE = THRESHOLDS["fp32"]
LARGEST_DIFFERENCE = 1e-5  # of any number of an embedding, whose length is one
CASES, MULAN_CASES = cases("cases.json"), cases("mulan_cases.json")
MODELS = ("label_rate_25", "label_rate_50")
TOWERS = ("mulan_projected", "mulan_plain")


def batch(recording: Tensor, case: str) -> Tensor:
    samples = CASES[case]["samples"]
    return torch.stack([recording[start : start + samples] for start in CASES[case]["starts"]])


def mask(waveform: Tensor, case: str) -> Tensor | None:
    if CASES[case]["masked"] is None:
        return None
    found = torch.ones(waveform.shape, dtype=torch.long)
    for row, first, end in CASES[case]["masked"]:
        found[row, first:end] = 0
    return found


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *((name, case) for name in MODELS for case in CASES),
        *(("muq_mini", case) for case in ("shortest", "one second")),
    ],
)
def test_every_level(name: str, case: str, recording: Tensor) -> None:
    waveform, official = batch(recording, case), answers(name)[f"{case}/hidden_states"]
    found = muq(name)(waveform, mask(waveform, case))
    assert len(found.hidden_states) == len(official)
    for level, (ours, theirs) in enumerate(zip(found.hidden_states, official, strict=True)):
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        ours = ours.numpy()
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < GATE.relative_l2, level
        products = (ours * theirs).sum(-1)
        lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
        # A masked step's level 0 is nothing but zeros.
        cosines = np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0)
        assert cosines.min() > GATE.worst_frame_cosine, level


def test_a_mask_changes_what_follows(recording: Tensor) -> None:
    """Or the cases above would say nothing of masks."""
    waveform = batch(recording, "padded batch")
    kept = mask(waveform, "padded batch")
    masked = muq("label_rate_25")(waveform, kept).hidden_states[3]
    plain = muq("label_rate_25")(waveform).hidden_states[3]
    assert torch.equal(masked[0], plain[0])
    assert (masked[1, :10] - plain[1, :10]).norm() / plain[1, :10].norm() > 1e-3


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *((name, case) for name in TOWERS for case in MULAN_CASES["audio"]),
        ("muq_mulan_mini", "a clip"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_music(name: str, case: str, together: bool, recording: Tensor) -> None:
    starts, samples = MULAN_CASES["audio"][case].values()
    rows = [np.resize(recording.roll(-start).numpy(), samples) for start in starts]
    waveform = torch.from_numpy(np.stack(rows))
    ours = mulan(name)(wavs=waveform, parallel_processing=together)
    official = answers(name)[f"audio/{case}"]
    assert ours.shape == official.shape
    assert np.abs(ours.numpy() - official).max() < LARGEST_DIFFERENCE


@pytest.mark.parametrize("name", [*TOWERS, "muq_mulan_mini"])
@pytest.mark.parametrize("case", MULAN_CASES["texts"])
def test_texts(name: str, case: str) -> None:
    model, texts, official = mulan(name), MULAN_CASES["texts"][case], answers(name)
    together = model(texts=texts).numpy()
    assert np.abs(together - official[f"texts/{case}/together"]).max() < LARGEST_DIFFERENCE
    alone = torch.cat([model(texts=text) for text in texts]).numpy()
    assert np.abs(alone - official[f"texts/{case}/alone"]).max() < LARGEST_DIFFERENCE
