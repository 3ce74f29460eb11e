"""The reference against the official package, whose outputs make_golden.py recorded."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muqrt.reference.checkpoint import load_checkpoint
from muqrt.reference.muq import MuQ

GOLDEN_RELATIVE_L2 = 1e-4
GOLDEN_LOG_MEL_DB = 1e-3  # the official filterbank is computed in float32, ours in float64

CASES = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
SHIPPED = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mini"
MODELS = ("label_rate_25", "label_rate_50")
every_case = pytest.mark.parametrize(
    ("name", "case"),
    [
        *((name, case) for name in MODELS for case in CASES),
        *(("muq_mini", case) for case in ("shortest", "one second")),
    ],
)


@cache
def load(golden: Path, name: str) -> tuple[MuQ, dict[str, np.ndarray]]:
    checkpoint = SHIPPED if name == "muq_mini" else golden / name
    with np.load(golden / name / "outputs.npz") as outputs:
        return load_checkpoint(checkpoint).model, dict(outputs)


def batch(recording: Tensor, case: str) -> Tensor:
    samples = CASES[case]["samples"]
    return torch.stack([recording[start : start + samples] for start in CASES[case]["starts"]])


def attention_mask(waveform: Tensor, case: str) -> Tensor | None:
    if CASES[case]["masked"] is None:
        return None
    mask = torch.ones(waveform.shape, dtype=torch.long)
    for row, first, end in CASES[case]["masked"]:
        mask[row, first:end] = 0
    return mask


@every_case
def test_every_level(name: str, case: str, golden: Path, recording: Tensor) -> None:
    model, outputs = load(golden, name)
    waveform = batch(recording, case)
    with torch.no_grad():
        states = model(waveform, attention_mask(waveform, case)).hidden_states
    official = outputs[f"{case}/hidden_states"]
    assert len(states) == len(official) == model.config.encoder_depth + 1
    for level, (ours, theirs) in enumerate(zip(states, official, strict=True)):
        assert ours.isfinite().all()
        assert ours.shape == theirs.shape
        error = np.linalg.norm(ours.numpy() - theirs) / np.linalg.norm(theirs)
        assert error < GOLDEN_RELATIVE_L2, f"level {level}: {error:.1e}"


@pytest.mark.parametrize("case", ["shortest", "one second"])
def test_log_mel(case: str, golden: Path, recording: Tensor) -> None:
    model, outputs = load(golden, "label_rate_25")
    ours = model.model.preprocessor_melspec_2048(batch(recording, case))
    theirs = outputs[f"{case}/log_mel"]
    assert ours.shape == theirs.shape
    difference_db = (ours.numpy() - theirs) * model.config.stat["melspec_2048_std"]
    assert np.abs(difference_db).max() < GOLDEN_LOG_MEL_DB


@every_case
def test_tokens(name: str, case: str, golden: Path, recording: Tensor) -> None:
    model, outputs = load(golden, name)
    log_mel = model.model.preprocessor_melspec_2048(batch(recording, case))
    frames = model.config.frames_per_step
    steps = log_mel.shape[-1] // frames
    # Frame by frame, each with all its mels, as the tokenizer's input channels.
    stacked = log_mel[..., : steps * frames].unflatten(-1, (steps, frames))
    with torch.no_grad():
        _, tokens = model.model.rvq(stacked.permute(0, 3, 1, 2).flatten(1, 2))
    np.testing.assert_array_equal(tokens, outputs[f"{case}/tokens"])


def test_the_fixtures_would_show_a_mistake(golden: Path, recording: Tensor) -> None:
    """A small part of one layer made wrong is far outside the tolerance."""
    model, outputs = load(golden, "label_rate_25")
    theirs = outputs["one second/hidden_states"][-1]
    for part in ("conformer.embed_positions.inv_freq", "conv.conv.0.bn3.running_mean"):
        tensor = model.model.get_buffer(part)
        kept = tensor.clone()
        tensor *= 0.9
        with torch.no_grad():
            ours = model(batch(recording, "one second")).last_hidden_state.numpy()
        tensor.copy_(kept)
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) > 10 * GOLDEN_RELATIVE_L2
